"""What a question's headers ask for: how long to wait, and how the cache may be used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from starlette.datastructures import Headers

from services.edge.problem import Problem, ProblemError

_WAIT = re.compile(r'^wait\s*=\s*"?(\d{1,9})"?$')


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the headers say where the body says nothing: fields win over headers.

    Attributes:
        wait_s: seconds for which the caller waits (`Prefer: wait=`, RFC 7240); None says nothing.
        cache_control: how the cache may be used, as the body's `cache_control`; None says
            nothing.
    """

    wait_s: float | None
    cache_control: str | None

    @classmethod
    def of(cls, headers: Headers) -> Self:
        """Return what a request's headers say; what is not understood is no preference.

        Raises:
            ProblemError: `Cache-Control` asks for an age, which cannot be promised.
        """
        return cls(_wait_s(_listed(headers, "prefer")), _cache(_listed(headers, "cache-control")))


def _listed(headers: Headers, name: str) -> list[str]:
    return [
        part.strip().lower() for line in headers.getlist(name) for part in re.split("[,;]", line)
    ]


def _wait_s(preferences: list[str]) -> float | None:
    for each in preferences:
        found = _WAIT.match(each)
        if found and int(found[1]) > 0:
            return float(found[1])
    return None


def _cache(directives: list[str]) -> str | None:
    """Return what RFC 9111's directives of requests mean here."""
    is_fresh = "no-cache" in directives or "max-age=0" in directives
    if not is_fresh and any(each.startswith("max-age") for each in directives):
        # An answer's age is known at its end, when its text is there already.
        detail = "Cache-Control: an age cannot be asked for; no-cache has the answer made anew."
        raise ProblemError(Problem(400, "MAX_AGE_NOT_SUPPORTED", detail, "Cache-Control"))
    if "only-if-cached" in directives:
        return "only-if-cached"
    if "no-store" in directives:
        return "bypass" if is_fresh else "no-store"
    return "refresh" if is_fresh else None
