"""The calls that wait for the thread, and which of their items the next run takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.embedding.work import Call, Work


@dataclass(frozen=True, slots=True)
class Run:
    """What the thread does next.

    Attributes:
        work: what is done.
        items: with which items; all different.
    """

    work: Work[Any, Any]
    items: list[Any]


class Waiting:
    """Calls in the order in which they are served: by rank, then by deadline."""

    def __init__(self, *, run_tokens: int) -> None:
        """Start with no call.

        Args:
            run_tokens: tokens that one run may have; a longer item runs alone.
        """
        self._run_tokens = run_tokens
        self._calls: list[Call[Any, Any]] = []

    def add(self, call: Call[Any, Any]) -> None:
        """Put a call in its place; among equals the first to come is first."""
        self._calls.append(call)
        # Stable and nearly sorted already: linear.
        self._calls.sort(key=lambda each: (each.rank, each.end_s))

    def remove(self, call: Call[Any, Any]) -> None:
        """Take a call out, if it is still here."""
        if call in self._calls:
            self._calls.remove(call)

    def all(self) -> list[Call[Any, Any]]:
        """Return the calls, first served first."""
        return list(self._calls)

    def next_run(self, now_s: float) -> Run | None:
        """Return the next run; None if no call waits.

        The run grows until it is full or until it would end after the deadline of the
        call that is served first. Nobody makes the run of a higher rank longer.
        """
        if not self._calls:
            return None
        first = self._calls[0]
        work, room = first.work, self._room(first, now_s)
        items: dict[Any, None] = {}
        for call in self._calls:
            if call.rank is not first.rank:
                break
            if call.work is not work:
                continue
            for item in call.missing:
                if item in items:
                    continue
                room -= work.tokens(item)
                if items and room < 0:
                    return Run(work, list(items))
                items[item] = None
        return Run(work, list(items))

    def _room(self, first: Call[Any, Any], now_s: float) -> float:
        s_per_token = first.work.s_per_token(now_s)
        in_time = (first.end_s - now_s) / s_per_token if s_per_token else self._run_tokens
        return min(self._run_tokens, in_time)
