"""Requests as the simulated provider saw them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.support.provider.prefixes import Usage


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
        usage: the prompt's tokens by what is paid for them; None for what was refused.
        miss_reason: what the diagnosis says that was asked for; None if it says nothing.
    """

    number: int
    body: bytes
    arrived_s: float
    first_text_s: float | None = None
    ended_s: float | None = None
    outcome: str = ""
    pieces: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    usage: Usage | None = None
    miss_reason: dict[str, Any] | None = None

    @property
    def message_id(self) -> str:
        """The id of the answer."""
        return f"msg_{self.number:024d}"

    @property
    def request(self) -> Any:
        """The request, parsed."""
        return json.loads(self.body)
