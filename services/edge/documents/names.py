"""Names of files: they become ids of documents, and parts of addresses."""

from __future__ import annotations

import re

from services.edge.web.query import refused

MAX_NAME_CHARACTERS = 512
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOWHERE = frozenset({"", ".", ".."})


def check_name(name: str, place: str) -> str:
    """Return a name that can be an id, such as `manual.pdf` or `2026/may.md`.

    A browser would take `.` and `..` out of the address of such a document, and ask for
    another one.

    Raises:
        ProblemError: it is empty, too long, no relative path, or leads upwards; the problem
            names `place`.
    """
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise refused(place, f"must have 1 to {MAX_NAME_CHARACTERS} characters")
    if _CONTROL.search(name):
        raise refused(place, "must have no control characters")
    if _NOWHERE.intersection(name.replace("\\", "/").split("/")):
        raise refused(place, "must be a relative path without '.' and '..'")
    return name
