"""The body of a submission, and what it is understood as."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import Field
from starlette.requests import Request

from libs.values.jobs import Submission
from services.edge.web.body import Strict
from services.edge.web.operation import Parameter
from services.edge.web.query import refused

_KEY = re.compile(r"[!-~]{1,128}")
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "Names this submission: the same key and body are the same job, for as long as that is kept.",
    {"type": "string", "pattern": "^[!-~]{1,128}$"},
)


class SubmitBody(Strict):
    """A job as it stands in a body; what its kind accepts is the jobs service's to check."""

    kind: str
    input: dict[str, Any]
    scope: str = ""
    result_ttl_s: float | None = Field(None, gt=0)


def submission_of(request: Request, tenant_id: str, body: SubmitBody) -> Submission:
    """Return the job, submitted for a tenant.

    Raises:
        ProblemError: the input holds what JSON cannot.
    """
    return Submission(
        tenant_id,
        body.kind,
        _input(body.input),
        key_of(request),
        body.scope,
        body.result_ttl_s,
    )


def key_of(request: Request) -> str:
    """Return how a submission is named; empty if it is not.

    Raises:
        ProblemError: the name is none.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise refused("Idempotency-Key", "must be 1 to 128 printable ASCII characters, no spaces")
    return key or ""


def _input(given: dict[str, Any]) -> bytes:
    try:
        return json.dumps(given, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:  # not finite, of thousands of digits, or half a character
        raise refused("input", "must hold only numbers and texts that JSON has") from error
