"""The calls that wait for vectors, and which of their texts the next run takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from libs.budget import Budget

# In English a token has about four characters; counting bytes instead makes the guess
# hold for other scripts too. Only the length of a run hangs on it.
_BYTES_PER_TOKEN = 4
# The marks that every model puts around a text.
_MARKS = 2


@dataclass(slots=True, eq=False)
class Call:
    """One caller's texts and what is known of their vectors.

    Attributes:
        texts: what to embed, in order; repeats allowed.
        bulk: True if it goes behind all calls that are not.
        budget: its time; None if it set no deadline.
        arrived_s: when it arrived, in seconds of the batcher's clock.
        vectors: the vectors that are there, by text.
        missing: the texts that are not, in order.
        working_s: seconds in which its texts were being worked on.
        batch_size: most calls that shared one of its runs.
        done: set to None when nothing is missing, or to what went wrong.
    """

    texts: Sequence[str]
    bulk: bool
    budget: Budget | None
    arrived_s: float
    vectors: dict[str, bytes] = field(default_factory=dict)
    missing: dict[str, None] = field(init=False)
    working_s: float = 0.0
    batch_size: int = 0
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def __post_init__(self) -> None:
        self.missing = dict.fromkeys(self.texts)

    @property
    def end_s(self) -> float:
        """When its time ends; never, if it set no deadline."""
        return float("inf") if self.budget is None else self.budget.end_by_s

    def take(self, vectors: dict[str, bytes]) -> bool:
        """Take those of `vectors` that are missing; return whether any was."""
        found = self.missing.keys() & vectors.keys()
        for text in found:
            self.vectors[text] = vectors[text]
            del self.missing[text]
        return bool(found)

    def fail(self, error: Exception) -> None:
        """End the call with `error`, unless it has ended."""
        if not self.done.done():
            self.done.set_exception(error)


class Waiting:
    """Calls in the order in which they are served: interactive first, then by deadline."""

    def __init__(self, *, run_tokens: int, max_tokens: int) -> None:
        """Start with no call.

        Args:
            run_tokens: tokens that one run may have; a longer text runs alone.
            max_tokens: tokens that the model reads of a text.
        """
        self._run_tokens = run_tokens
        self._max_tokens = max_tokens
        self._calls: list[Call] = []

    def add(self, call: Call) -> None:
        """Put a call in its place; among equals the first to come is first."""
        self._calls.append(call)
        # Stable and nearly sorted already: linear.
        self._calls.sort(key=lambda each: (each.bulk, each.end_s))

    def remove(self, call: Call) -> None:
        """Take a call out, if it is still here."""
        if call in self._calls:
            self._calls.remove(call)

    def all(self) -> list[Call]:
        """Return the calls, first served first."""
        return list(self._calls)

    def next_run(self, now_s: float, s_per_token: float) -> list[str]:
        """Return different texts that make up the next run; empty if no call waits.

        The run grows until it is full or until it would end after the deadline of the
        call that is served first. Bulk texts never make an interactive run longer.
        """
        if not self._calls:
            return []
        first = self._calls[0]
        room = self._room(first, now_s, s_per_token)
        texts: dict[str, None] = {}
        for call in self._calls:
            if call.bulk != first.bulk:
                break
            for text in call.missing:
                if text in texts:
                    continue
                room -= self.tokens(text)
                if texts and room < 0:
                    return list(texts)
                texts[text] = None
        return list(texts)

    def tokens(self, text: str) -> int:
        """Return about how many tokens the model reads of `text`."""
        guess = len(text.encode()) // _BYTES_PER_TOKEN + _MARKS
        return min(self._max_tokens, guess)

    def _room(self, first: Call, now_s: float, s_per_token: float) -> float:
        in_time = (first.end_s - now_s) / s_per_token if s_per_token else self._run_tokens
        return min(self._run_tokens, in_time)
