"""Errors as callers over HTTP see them: problem details (RFC 9457)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import grpc
from starlette.responses import Response

from libs.errors import InvalidFieldError, JobsFullError, MeshError

MEDIA_TYPE = "application/problem+json"

_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 500,  # the edge itself is not known to the mesh
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.ABORTED: 503,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
# Details for the statuses whose messages may come from the transport and name machines.
_DETAILS = {
    429: "The service has as much to do as it can; try again later.",
    500: "Something went wrong that should not.",
    503: "A service that this answer needs is not there now; try again later.",
    504: "The time ended before there was an answer.",
}
# Errors that only our own services raise, whose words are for callers.
_SPEAKS = (JobsFullError,)
_TITLES = {
    400: "The request is not valid",
    401: "Who asks is not known",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "The request did not arrive in time",
    409: "In conflict with what is there",
    413: "The request is too large",
    415: "The media type is not supported",
    421: "The request was meant for another host",
    429: "Too many requests",
    500: "Internal error",
    503: "Not available now",
    504: "Out of time",
}
# What the contract calls a field that has another name over HTTP.
_FIELDS = {
    "first_text_by": "budget_ms",
    "request": "",
    "result_ttl": "result_ttl_s",
}


def title_of(status: int) -> str:
    """Return what kind of problem a status is."""
    return _TITLES.get(status, "The request failed")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request has no answer.

    Attributes:
        status: HTTP status.
        reason: one word for machines, such as `INVALID_FIELD`.
        detail: a sentence for people; never the text of a foreign exception.
        field: the field of the body that is wrong; empty if none is.
        retry_after_s: seconds after which another try makes sense; None says nothing.
        resume_at: the path at which the rest of a stream can be read; empty if there is none.
    """

    status: int
    reason: str
    detail: str
    field: str = ""
    retry_after_s: float | None = None
    resume_at: str = ""

    @classmethod
    def of(cls, error: MeshError) -> Self:
        """Return what a caller is told of an error of the mesh."""
        status = _STATUSES.get(error.code, 500)
        field = error.field if isinstance(error, InvalidFieldError) else ""
        return cls(
            status,
            error.reason if status != 500 else "INTERNAL",  # noqa: PLR2004 - it is a status
            str(error) if isinstance(error, _SPEAKS) else _DETAILS.get(status, str(error)),
            _FIELDS.get(field, field),
            error.retry_after_s,
        )

    @property
    def title(self) -> str:
        """What kind of problem it is, the same for every one of its status."""
        return title_of(self.status)

    def members(self) -> dict[str, Any]:
        """Return the problem as a JSON object."""
        members: dict[str, Any] = {
            "type": f"urn:hasten:problem:{self.reason.lower().replace('_', '-')}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
        }
        if self.field:
            members["field"] = self.field
        if self.retry_after_s is not None:
            members["retry_after_s"] = self.retry_after_s
        if self.resume_at:
            members["resume_at"] = self.resume_at
        return members

    def headers(self) -> dict[str, str]:
        """Return what the headers say of it."""
        head = {"Cache-Control": "no-store"}
        if self.status == 401:  # noqa: PLR2004 - it is a status
            head["WWW-Authenticate"] = 'Bearer realm="hasten"'
        if self.retry_after_s is not None or self.status == 429:  # noqa: PLR2004 - it is a status
            head["Retry-After"] = str(max(1, math.ceil(self.retry_after_s or 0)))
        return head

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """Return the problem as a whole response."""
        body = json.dumps(self.members(), ensure_ascii=False).encode()
        head = self.headers() | dict(headers or {})
        return Response(body, self.status, head, MEDIA_TYPE)


class ProblemError(Exception):
    """The edge itself refuses a request."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem
