"""How an operation says no: problem details, unless its callers expect something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from services.edge.problem import MEDIA_TYPE, Problem
from services.edge.web import sse


@dataclass(frozen=True, slots=True)
class Refusals:
    """How refusals look.

    Attributes:
        name: of their schema in the OpenAPI document.
        schema: what their bodies are.
        media_type: of their bodies.
        respond: makes a whole response of a problem.
        frame: makes the last event of a stream that has begun.
    """

    name: str
    schema: Mapping[str, Any]
    media_type: str
    respond: Callable[[Problem], Response]
    frame: Callable[[Problem], bytes]


_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "reason"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string", "description": "One word for machines."},
        "field": {"type": "string", "description": "What in the request is wrong."},
        "retry_after_s": {"type": "number"},
        "resume_at": {"type": "string", "description": "Where the rest of a stream is."},
    },
}


def _frame(problem: Problem) -> bytes:
    return sse.frame("error", problem.members())


PROBLEMS = Refusals("Problem", _SCHEMA, MEDIA_TYPE, Problem.response, _frame)
"""Problem details (RFC 9457)."""
