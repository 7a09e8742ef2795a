"""Which pages may send what browsers let every page send: forms with files, and WebSockets."""

from __future__ import annotations

from starlette.datastructures import Headers

from services.edge.problem import Problem, ProblemError

ANY = "*"


def check_origin(headers: Headers, origins: frozenset[str]) -> None:
    """Refuse what a page of another site sends, unless that site is on the list.

    For these two a browser asks nobody beforehand, so a list for CORS alone would not stop
    them. Who is no browser sends no `Origin`.

    Args:
        headers: of the request.
        origins: the sites that may, as `https://app.example`; `*` is any.

    Raises:
        ProblemError: the page's site is not among them.
    """
    origin = headers.get("origin")
    if origin is None or ANY in origins or origin in origins or _is_same(origin, headers):
        return
    raise ProblemError(Problem(403, "WRONG_ORIGIN", "Pages of this origin may not do this."))


def _is_same(origin: str, headers: Headers) -> bool:
    """Return whether a page came from the very host that it speaks to."""
    _, separator, host = origin.lower().partition("://")
    return bool(separator) and host == headers.get("host", "").lower()
