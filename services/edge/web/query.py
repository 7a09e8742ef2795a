"""What requests say in their query and their headers: numbers, pages, ages of what they have."""

from __future__ import annotations

import re

from starlette.datastructures import QueryParams
from starlette.requests import Request

from services.edge.problem import Problem, ProblemError
from services.edge.web.operation import Parameter

MOST_NUMBER = 2**53
"""The greatest number that every reader of JSON keeps whole."""

PAGE_SIZE = Parameter(
    "page_size",
    "query",
    "How many at most.",
    {"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
)
PAGE_TOKEN = Parameter("page_token", "query", "The `next_page_token` of the page before.")
_NUMBER = {"type": "integer", "minimum": 0}
AFTER = Parameter("after", "query", "The number of the last event that was seen.", _NUMBER)
LAST_EVENT_ID = Parameter(
    "Last-Event-ID", "header", "The same, as browsers send it; wins.", _NUMBER
)
_USUAL_PAGE, _MOST_PAGE = 50, 200
_WHOLE = re.compile(r"[0-9]{1,16}")
_TAG = re.compile(r'(?:W/)?"([^"]*)"')


def refused(field: str, says: str) -> ProblemError:
    """Return the refusal of a field, a parameter or a header."""
    return ProblemError(Problem(400, "INVALID_FIELD", f"{field}: {says}", field))


def whole(text: str, field: str, least: int, most: int) -> int:
    """Return a whole number.

    Raises:
        ProblemError: it is none, or not in [least, most].
    """
    if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
        raise refused(field, f"must be a whole number, {least} to {most}")
    return int(text)


def after_of(request: Request) -> int:
    """Return the number of the last event that the caller has seen; 0 if it has seen none.

    A browser that comes again sends the header, and still the query it began with.

    Raises:
        ProblemError: it is no number of an event.
    """
    said = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
    return whole(said, "after", 0, MOST_NUMBER)


def page_of(query: QueryParams) -> tuple[int, str]:
    """Return the size and the token of the page that is asked for.

    Raises:
        ProblemError: the size is not one.
    """
    said = query.get("page_size")
    size = _USUAL_PAGE if said is None else whole(said, "page_size", 1, _MOST_PAGE)
    return size, query.get("page_token", "")


def listed(query: QueryParams, name: str) -> list[str]:
    """Return all values of a parameter that may be given more than once, or with commas."""
    values = (part.strip() for given in query.getlist(name) for part in given.split(","))
    return [value for value in values if value]


def revision_of(header: str | None) -> int | None:
    """Return the greatest revision in an `If-None-Match`; None if it has none of ours."""
    tags = (tag for tag in tags_of(header) if _WHOLE.fullmatch(tag))
    return max((int(tag) for tag in tags if int(tag) <= MOST_NUMBER), default=None)


def tags_of(header: str | None) -> frozenset[str]:
    """Return what stands in an `If-None-Match`, without the quotes; `*` stays."""
    if not header:
        return frozenset()
    return frozenset(_TAG.findall(header)) | ({"*"} if header.strip() == "*" else set())
