"""Requests as the simulated provider saw them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Call:
    """One request as the provider saw it; times are on the monotonic clock.

    Attributes:
        number: counts the requests, from 1.
        body: the request's bytes.
        arrived_s: when all of it was there.
        first_text_s: when the first piece of text was sent; None if none was.
        ended_s: when it was over; None while it is under way.
        outcome: `complete`, `refused`, `failed`, `dropped`, `cut` or `cancelled`; empty
            while it is under way.
        pieces: pieces of text sent.
    """

    number: int
    body: bytes
    arrived_s: float
    first_text_s: float | None = None
    ended_s: float | None = None
    outcome: str = ""
    pieces: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def request(self) -> Any:
        """The request, parsed."""
        return json.loads(self.body)
