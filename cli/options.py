"""What commands have in common: the slip of a user, and options that mean the same."""

from __future__ import annotations

import re
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Tenant = Annotated[str, typer.Option(help="On whose behalf.")]
Collection = Annotated[str, typer.Option(help="Which documents.")]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m)?")
_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0}


class SlipError(Exception):
    """What the user typed, or a file that was named, cannot be meant."""


def seconds_of(text: str, option: str) -> float:
    """Return a duration such as `700ms`, `2s` or `700` (milliseconds) in seconds.

    Raises:
        SlipError: it is none.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise SlipError(f"{option}: {text!r} is no duration; write 700ms, 2s or 700 (milliseconds)")
    return float(match[1]) * _UNITS_S[match[2] or "ms"]
