"""`POST /v1/answers`: one question, answered whole or as a stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response

from libs.budget import Budget, spending
from libs.clients.answer import AnswerClient
from libs.errors import BudgetExhaustedError, UnreachableError
from libs.values import AnswerEvent, Completed, Question, TextDelta
from libs.values.answer_json import WholeAnswer, members_of, name_of
from services.edge.answers.body import AskBody
from services.edge.problem import Problem, ProblemError
from services.edge.web import sse
from services.edge.web.exchange import Exchange, json_response
from services.edge.web.metrics import EdgeMetrics
from services.edge.web.operation import Operation, Reply
from services.edge.web.request import JSON

PATH = "/v1/answers"
# A first text that is due at once is still asked for: what there is then is up to the plan.
_LEAST_PATIENCE_S = 0.001


@dataclass(frozen=True, slots=True)
class Pace:
    """How long an answer may take.

    Attributes:
        max_deadline_s: seconds that an answer may take at most.
        ping_every_s: seconds of silence in a stream that are too long.
    """

    max_deadline_s: float
    ping_every_s: float


class Asking:
    """Takes questions over HTTP and asks them of the orchestrator.

    Args:
        client: the orchestrator.
        pace: how long an answer may take.
        metrics: where answers are counted.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        client: AnswerClient,
        pace: Pace,
        metrics: EdgeMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._pace = pace
        self._metrics = metrics
        self._clock = clock

    def operations(self) -> tuple[Operation, ...]:
        """Return what this can do."""
        reply = Reply("The answer.", {JSON: {"type": "object"}, sse.MEDIA_TYPE: sse.SCHEMA})
        ask = Operation(
            "POST",
            PATH,
            "askQuestion",
            "Answer a question, whole or as a stream of events.",
            self._answer,
            right="answers",
            replies={200: reply},
            body=AskBody,
            forms=(JSON, sse.MEDIA_TYPE),
            refusals=(404,),
        )
        return (ask,)

    async def _answer(self, exchange: Exchange) -> Response | None:
        asked = await exchange.json(AskBody)
        exchange.caller.check_scope(asked.scope)
        work = self._streamed if exchange.form == sse.MEDIA_TYPE else self._whole
        return await exchange.while_here(work(exchange, asked))

    async def _whole(self, exchange: Exchange, asked: AskBody) -> Response:
        async def take(numbered: AnswerEvent) -> None:
            answer.add(numbered.event)

        answer = WholeAnswer()
        completed = await self._run(exchange, asked, take)
        return json_response(answer.members(completed))

    async def _streamed(self, exchange: Exchange, asked: AskBody) -> None:
        async def take(numbered: AnswerEvent) -> None:
            answer.add(numbered.event)
            members = members_of(numbered.event, answer.plan)
            await stream.write(sse.frame(name_of(numbered.event), members, numbered.sequence))

        answer, stream = WholeAnswer(), exchange.stream
        async with stream.kept_awake(self._pace.ping_every_s):
            await self._run(exchange, asked, take)
        await stream.end()

    async def _run(
        self, exchange: Exchange, asked: AskBody, take: Callable[[AnswerEvent], Awaitable[None]]
    ) -> Completed:
        """Ask, hand over each event, and return the last.

        Raises:
            MeshError: the orchestrator refused, failed or broke off.
        """
        question, budget = self._question(exchange, asked)
        try:
            with spending(budget):
                async with asyncio.timeout(self._pace.max_deadline_s):
                    completed = await self._follow(exchange, question, take)
        except TimeoutError as error:
            raise BudgetExhaustedError("no answer takes longer") from error
        self._metrics.answer(completed)
        return completed

    async def _follow(
        self,
        exchange: Exchange,
        question: Question,
        take: Callable[[AnswerEvent], Awaitable[None]],
    ) -> Completed:
        completed, has_text = None, False
        async with self._client.ask(question) as events:
            async for numbered in events:
                await take(numbered)
                if isinstance(numbered.event, TextDelta) and not has_text:
                    has_text = True
                    self._metrics.first_text(exchange.form, self._clock() - exchange.arrived_s)
                if isinstance(numbered.event, Completed):
                    completed = numbered.event
        if completed is None:
            raise UnreachableError("the answer ended without its last event")
        return completed

    def _question(self, exchange: Exchange, asked: AskBody) -> tuple[Question, Budget | None]:
        """Return the question, and the budget if it has a deadline; time counts from arrival."""
        first_text_by_s, budget = None, None
        if asked.budget_ms is not None:
            due_s = exchange.arrived_s + asked.budget_ms / 1e3
            first_text_by_s = max(_LEAST_PATIENCE_S, due_s - self._clock())
        if asked.deadline_ms is not None:
            deadline_s = asked.deadline_ms / 1e3
            if deadline_s > self._pace.max_deadline_s:
                problem = f"deadline_ms: must be at most {self._pace.max_deadline_s * 1e3:g}"
                raise ProblemError(Problem(400, "INVALID_FIELD", problem, "deadline_ms"))
            end_by_s = exchange.arrived_s + deadline_s
            budget = Budget(end_by_s, end_by_s, self._clock)
        return asked.question_of(exchange.caller.tenant_id, first_text_by_s), budget
