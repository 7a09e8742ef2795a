"""Refusals as OpenAI's clients read them."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from services.edge.problem import Problem
from services.edge.web.refusals import Refusals
from services.edge.web.request import JSON

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_SERVER_ERROR = 500
# What a question is called in the contract, and where it stands here.
_PARAMS = {
    "question": "messages",
    "history": "messages",
    "output_schema": "response_format",
    "policy": "model",
    "budget_ms": "hasten.budget_ms",
    "deadline_ms": "hasten.deadline_ms",
    "minimum_quality": "hasten.minimum_quality",
    "cache_control": "hasten.cache_control",
    "collection": "hasten.collection",
    "filters": "hasten.filters",
    "scope": "hasten.scope",
}
_CODES = {
    "POLICY_NOT_FOUND": "model_not_found",
    "MODEL_NOT_FOUND": "model_not_found",
    "UNAUTHENTICATED": "invalid_api_key",
}
SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}


def members_of(problem: Problem) -> dict[str, Any]:
    """Return a problem as OpenAI's error object."""
    usual = "server_error" if problem.status >= _SERVER_ERROR else "invalid_request_error"
    code = _CODES.get(problem.reason, problem.reason.lower())
    error = {
        "message": problem.detail,
        "type": _TYPES.get(problem.status, usual),
        "param": "model" if code == "model_not_found" else _param(problem.field),
        "code": code,
    }
    return {"error": error}


def _param(field: str) -> str | None:
    if not field:
        return None
    ends = [at for at in (field.find("["), field.find(".")) if at >= 0]
    first = field[: min(ends)] if ends else field
    return _PARAMS.get(first, field)


def _respond(problem: Problem) -> Response:
    body = json.dumps(members_of(problem), ensure_ascii=False).encode()
    return Response(body, problem.status, problem.headers(), JSON)


def _frame(problem: Problem) -> bytes:
    """Return the last event of a stream that fails; the clients raise what it holds."""
    return b"data: " + json.dumps(members_of(problem), ensure_ascii=False).encode() + b"\n\n"


OPENAI = Refusals("OpenAIError", SCHEMA, JSON, _respond, _frame)
