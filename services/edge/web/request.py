"""What is checked of a request before its question is read."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import HTTPConnection, Request

from services.edge.problem import Problem, ProblemError
from services.edge.web.arrival import Patience, arriving

JSON = "application/json"
# A caller that is still sending would not see the refusal; so much more is read and dropped.
_DISCARDED = 16


def check_host(request: HTTPConnection, hosts: frozenset[str] | None) -> None:
    """Refuse a request for a name that is not this server's.

    A page of another site, whose name was made to lead to this machine, would otherwise be
    of one origin with the edge and could read every answer.

    Raises:
        ProblemError: the name is not among `hosts`.
    """
    host = request.headers.get("host", "").lower()
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    if hosts is not None and name not in hosts:
        raise ProblemError(Problem(421, "WRONG_HOST", "The Host header names another server."))


def check_content_type(request: Request) -> None:
    """Refuse what is not JSON: forms of other sites, which browsers send unasked, above all.

    Raises:
        ProblemError: the body says that it is something else, or says nothing.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != JSON:
        detail = f"The body must be JSON, with the header Content-Type: {JSON}."
        raise ProblemError(Problem(415, "NOT_JSON", detail))


def form_of(request: Request, forms: Sequence[str] = (JSON,)) -> str:
    """Return the media type of the answer: the first that is asked for and that there is.

    Args:
        request: says what it accepts; without a word the first of `forms`.
        forms: media types that there are, the default first.

    Raises:
        ProblemError: none that is asked for can be sent.
    """
    accept = request.headers.get("accept") or "*/*"
    for asked in accept.lower().split(","):
        pattern = asked.partition(";")[0].strip()
        for form in forms:
            if pattern in (form, form.partition("/")[0] + "/*", "*/*"):
                return form
    known = " or as ".join(forms)
    raise ProblemError(Problem(406, "NOT_ACCEPTABLE", f"An answer is sent as {known}."))


async def read_body(request: Request, *, max_bytes: int, patience: Patience) -> bytes:
    """Return the whole body.

    Raises:
        ProblemError: it is too long, or does not come in time.
        CallerLeftError: the caller hung up instead.
    """
    body, total_bytes = bytearray(), 0
    async for chunk in arriving(request, patience):
        total_bytes += len(chunk)
        if total_bytes <= max_bytes:
            body += chunk
        elif total_bytes > _DISCARDED * max_bytes:
            break
    if total_bytes > max_bytes:
        detail = f"The body must be at most {max_bytes} bytes."
        raise ProblemError(Problem(413, "BODY_TOO_LARGE", detail))
    return bytes(body)
