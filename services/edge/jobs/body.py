"""The body of a submission, and what it is understood as."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import Field
from starlette.requests import Request

from libs.values.jobs import Submission
from services.edge.web.body import Strict
from services.edge.web.exchange import validated
from services.edge.web.operation import Parameter
from services.edge.web.query import refused
from services.edge.web.splitting import joined, split, stand_in

INGEST = "ingest"
"""The kind of job that writes documents, which takes a right of its own."""

_MOST_MEMBER_BYTES = 4096
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


def submission_of(request: Request, tenant_id: str, raw: bytes) -> Submission:
    """Return the job of a body, submitted for a tenant; its input is passed on as it came.

    Raises:
        ProblemError: the body is not of that form, or a member besides the input is long.
    """
    members = split(raw)
    for name, value in members.items():
        if name != "input" and len(value) > _MOST_MEMBER_BYTES:
            raise refused(name[:64], f"must have at most {_MOST_MEMBER_BYTES} bytes")
    given = members.get("input", b"")
    shown = {**members, "input": stand_in(given)} if given else members
    body = validated(SubmitBody, joined(shown) if members else stand_in(raw.lstrip()))
    return Submission(tenant_id, body.kind, given, key_of(request), body.scope, body.result_ttl_s)


def scopes_of(submission: Submission) -> frozenset[str]:
    """Return the document scopes that a job names, as a job and in what it is given."""
    named = {submission.scope}
    return frozenset(named | {_scope_of(submission.input)} if submission.kind == INGEST else named)


def key_of(request: Request) -> str:
    """Return how a submission is named; empty if it is not.

    Raises:
        ProblemError: the name is none.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise refused("Idempotency-Key", "must be 1 to 128 printable ASCII characters, no spaces")
    return key or ""


def _scope_of(given: bytes) -> str:
    """Return the scope that an input names; what is none is refused by who does the job."""
    raw = split(given).get("scope", b"")
    try:
        scope = json.loads(raw[:_MOST_MEMBER_BYTES]) if raw else ""
    except ValueError:
        return ""
    return scope if isinstance(scope, str) else ""
