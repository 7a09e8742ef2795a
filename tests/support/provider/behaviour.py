"""How the simulated provider behaves: when it speaks, how much, and what goes wrong."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self


@dataclass(frozen=True)
class Behaviour:
    """What the provider does with a request.

    A delay is a word: seconds (`0.5`), `lognormal:MEDIAN_S:SIGMA`, or `S,S,S`, one for each
    request (of gaps: one for each piece) in turn.

    Attributes:
        headers: delay before the response's headers.
        first_text: delay between the headers and the first piece of text.
        gap: delay between two pieces of text; a piece is a word.
        words: words of an answer, citations not counted.
        cites: sources that are quoted and cited, at most.
        sections: headings of an answer, listed and then filled; 0 writes none.
        ping_every: a ping after each so many pieces; 0 sends the first one only.
        extras: True to send thinking, and kinds of events that no client knows yet.
        api_key: the key that is accepted; empty accepts all.
        overload_rate: share of requests that are refused, in [0, 1].
        overload_status: the status they get: 429 or 529.
        overload_in_stream: True to refuse them by an event on HTTP 200 instead.
        retry_after: the `Retry-After` they get; empty sends none.
        status: other status that every request gets; 0 gives none.
        error_after: pieces after which an `error` event is sent.
        error_type: its type.
        stall_after: pieces after which nothing is said any more.
        drop_after: pieces after which the connection is reset.
        end_after: pieces after which the stream ends as if it were whole, but is not.
        stop_reason: how answers end, unless `max_tokens` ends them.
        minimum_prefix: the shortest start that is cached, in tokens: `N` for all models, or
            `MODEL=N,MODEL=N`.
        read_per_1k: seconds to read a thousand tokens that are not cached, before the headers.
        reread_per_1k: the same for tokens that are.
    """

    headers: str = "0"
    first_text: str = "0"
    gap: str = "0"
    words: int = 20
    cites: int = 2
    sections: int = 0
    ping_every: int = 0
    extras: bool = False
    api_key: str = ""
    overload_rate: float = 0.0
    overload_status: int = 529
    overload_in_stream: bool = False
    retry_after: str = ""
    status: int = 0
    error_after: int | None = None
    error_type: str = "api_error"
    stall_after: int | None = None
    drop_after: int | None = None
    end_after: int | None = None
    stop_reason: str = "end_turn"
    minimum_prefix: str = "0"
    read_per_1k: float = 0.0
    reread_per_1k: float = 0.0

    def minimum_tokens(self, model: str) -> int:
        """Return the shortest start of a prompt that a model caches, in tokens."""
        named = dict(each.rpartition("=")[::2] for each in self.minimum_prefix.split(","))
        return int(named.get(model, named.get("", "0")))

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with fields changed.

        Raises:
            ValueError: there is no such field, or a delay is not of a known form.
        """
        known = {field.name for field in fields(self)}
        if unknown := changes.keys() - known:
            raise ValueError(f"no such behaviour: {', '.join(sorted(unknown))}")
        made = replace(self, **changes)
        for delay in (made.headers, made.first_text, made.gap):
            Delays(0).next("check", delay)
        made.minimum_tokens("")
        return made


class Delays:
    """Seconds drawn from delays; the same seed draws the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._drawn: dict[tuple[str, str], int] = {}

    def next(self, purpose: str, delay: str) -> float:
        """Return the next delay of a purpose, in seconds."""
        if delay.startswith("lognormal:"):
            median_s, sigma = map(float, delay.removeprefix("lognormal:").split(":"))
            return self._random.lognormvariate(math.log(median_s), sigma)
        turn = self._drawn.get((purpose, delay), 0)
        self._drawn[purpose, delay] = turn + 1
        listed = delay.split(",")
        return float(listed[turn % len(listed)])

    def chance(self, rate: float) -> bool:
        """Return True at `rate`."""
        return self._random.random() < rate
