"""The body of a question: how it is read, checked and understood."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from libs.values import (
    CacheControl,
    CitationPlacement,
    Filter,
    Quality,
    Question,
    Render,
    Role,
    Turn,
)
from services.edge.problem import Problem, ProblemError
from services.edge.web.body import Strict

MOST_BUDGET_MS = 86_400_000.0
"""The longest time to a first text that can be asked for: a day."""


class TurnBody(Strict):
    """One earlier message of the conversation."""

    role: Literal["user", "assistant"]
    text: str


class FilterBody(Strict):
    """One condition on the documents."""

    key: str
    any_of: tuple[str, ...]


class AskBody(Strict):
    """A question as it stands in a body; limits of content are the orchestrator's to check."""

    question: str
    history: tuple[TurnBody, ...] = ()
    collection: str = "default"
    filters: tuple[FilterBody, ...] = ()
    policy: str = "interactive"
    budget_ms: float | None = Field(None, gt=0, le=MOST_BUDGET_MS)
    deadline_ms: float | None = Field(None, gt=0)
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
    citation_placement: Literal["inline", "after"] = "inline"
    output_schema: dict[str, Any] | None = None
    resumable: bool = False
    scope: str = ""

    def question_of(
        self, tenant_id: str, first_text_by_s: float | None, cache_control: str | None = None
    ) -> Question:
        """Return the question, asked for a tenant.

        Args:
            tenant_id: who asks.
            first_text_by_s: what is left of `budget_ms`, in seconds.
            cache_control: how the cache may be used if the body does not say it.

        Raises:
            ProblemError: `output_schema` holds what JSON cannot.
        """
        if cache_control is None or "cache_control" in self.model_fields_set:
            cache_control = self.cache_control
        quality = Quality[self.minimum_quality.upper()] if self.minimum_quality else None
        return Question(
            tenant_id=tenant_id,
            question=self.question,
            history=tuple(Turn(Role[each.role.upper()], each.text) for each in self.history),
            collection=self.collection,
            filters=tuple(Filter(each.key, each.any_of) for each in self.filters),
            policy=self.policy,
            first_text_by_s=first_text_by_s,
            minimum_quality=quality or Quality.UNSPECIFIED,
            cache_control=CacheControl[cache_control.upper().replace("-", "_")],
            render=Render[self.render.upper()],
            output_schema=self._schema(),
            resumable=self.resumable,
            scope=self.scope,
            citation_placement=CitationPlacement[self.citation_placement.upper()],
        )

    def _schema(self) -> str:
        if self.output_schema is None:
            return ""
        try:
            return json.dumps(self.output_schema, allow_nan=False, ensure_ascii=False)
        except ValueError as error:  # a number that is not finite, or has thousands of digits
            raise ProblemError(
                Problem(
                    400,
                    "INVALID_FIELD",
                    "output_schema: must hold only numbers that JSON has",
                    "output_schema",
                )
            ) from error


class VerdictBody(Strict):
    """What somebody thinks of an answer."""

    verdict: Literal["good", "bad"]
