"""`answer`: one question that may take its time, asked of the orchestrator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from libs.errors import UnreachableError
from libs.values import (
    SHOWN,
    AnswerEvent,
    CacheControl,
    Completed,
    Quality,
    Question,
    Render,
    Role,
    Sources,
    Turn,
    Usage,
)
from libs.values.answer_json import WholeAnswer
from services.jobs.kinds.clients import Clients
from services.jobs.kinds.inputs import CollectionName, Filters, filters_of
from services.jobs.kinds.kind import JobInput, Task, Teller, kind_of
from services.jobs.kinds.schema import checked_schema
from services.jobs.kinds.work import Steps, patiently

_Text = Annotated[str, StringConstraints(min_length=1, max_length=8_000, pattern=r"\S")]
_STEPS = 3


class TurnInput(JobInput):
    """One earlier message of the conversation."""

    role: Literal["user", "assistant"]
    text: _Text


class AnswerInput(JobInput):
    """A question, as `POST /v1/answers` takes it, without what only matters while one waits."""

    question: _Text
    history: tuple[TurnInput, ...] = Field(default=(), max_length=50)
    collection: CollectionName = "default"
    filters: Filters = ()
    policy: Annotated[str, StringConstraints(min_length=1, max_length=64)] = "background"
    minimum_quality: (
        Literal[
            "refusal",
            "unsupported",
            "extractive_lexical",
            "extractive",
            "fast_lexical",
            "fast",
            "brief_lexical",
            "lexical",
            "brief",
            "full",
        ]
        | None
    ) = None
    cache_control: Literal["default", "bypass", "no-store", "only-if-cached", "refresh"] = "default"
    render: Literal["token", "block", "outline"] = "token"
    output_schema: Annotated[dict[str, Any], AfterValidator(checked_schema)] | None = None

    def question_of(self, task: Task) -> Question:
        """Return the question, asked for the job's tenant and in its scope."""
        quality = Quality[self.minimum_quality.upper()] if self.minimum_quality else None
        schema = self.output_schema
        return Question(
            tenant_id=task.tenant_id,
            question=self.question,
            history=tuple(Turn(Role[each.role.upper()], each.text) for each in self.history),
            collection=self.collection,
            filters=filters_of(self.filters),
            policy=self.policy,
            minimum_quality=quality or Quality.UNSPECIFIED,
            cache_control=CacheControl[self.cache_control.upper().replace("-", "_")],
            render=Render[self.render.upper()],
            output_schema="" if schema is None else json.dumps(schema, ensure_ascii=False),
            scope=task.scope,
        )


async def _run(
    task: Task, given: AnswerInput, teller: Teller, clients: Clients
) -> Mapping[str, Any]:
    question = given.question_of(task)

    async def ask() -> Mapping[str, Any]:
        answer, steps = WholeAnswer(), Steps(teller, _STEPS)
        await steps.at("asked")
        completed: Completed | None = None
        async with clients.answers.ask(question) as events:
            async for numbered in events:
                await _tell(steps, answer, numbered)
                answer.add(numbered.event)
                if isinstance(numbered.event, Completed):
                    completed = numbered.event
        if completed is None:
            raise UnreachableError("the answer ended without its last event")
        task.meter.add(completed.usage or Usage())
        await steps.done("completed")
        return answer.members(completed)

    return await patiently(ask)


async def _tell(steps: Steps, answer: WholeAnswer, numbered: AnswerEvent) -> None:
    if isinstance(numbered.event, Sources) and answer.sources is None:
        await steps.done("sources")
    elif isinstance(numbered.event, SHOWN) and not answer.text:
        await steps.done("text")


ANSWER = kind_of("answer", AnswerInput, _run)
"""One question, answered under a policy that has time."""
