"""The time one request may still spend, as two points on the monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Self

from libs.errors import BudgetExhaustedError


@dataclass(frozen=True, slots=True)
class Budget:
    """The time one request may still spend.

    A budget is two end points, not durations, so passing it down a call chain
    never loses or gains time. Both only ever shrink.

    Attributes:
        first_text_by_s: when the caller's patience ends, in seconds of `clock`; plans
            serve this one. Never after `end_by_s`.
        end_by_s: the hard end; limits and cancellation serve this one.
        clock: seconds that only go forward; tests pass their own.
    """

    first_text_by_s: float
    end_by_s: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of(
        cls,
        end_s: float,
        first_text_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Start a budget from now: `end_s` in all, the first text within `first_text_s`."""
        now = clock()
        first = end_s if first_text_s is None else min(first_text_s, end_s)
        return cls(now + first, now + end_s, clock)

    def remaining_s(self) -> float:
        """Return the seconds left until the hard end, never below zero."""
        return max(0.0, self.end_by_s - self.clock())

    def patience_s(self) -> float:
        """Return the seconds left until the first text is due, never below zero."""
        return max(0.0, self.first_text_by_s - self.clock())

    def keeping(self, seconds: float) -> Self:
        """Return a budget that ends early, so `seconds` stay for later steps.

        Raises:
            ValueError: `seconds` is negative; a budget never grows.
        """
        if seconds < 0:
            msg = f"cannot keep {seconds} s: a budget only shrinks"
            raise ValueError(msg)
        end = self.end_by_s - seconds
        return replace(self, first_text_by_s=min(self.first_text_by_s, end), end_by_s=end)

    def within(self, seconds: float) -> Self:
        """Return a budget that ends at most `seconds` from now."""
        end = min(self.end_by_s, self.clock() + max(0.0, seconds))
        return replace(self, first_text_by_s=min(self.first_text_by_s, end), end_by_s=end)

    def require(self, seconds: float, hop: str) -> None:
        """Fail now if a step of `seconds` at `hop` cannot finish in time.

        Raises:
            BudgetExhaustedError: fewer than `seconds` are left. Raised before
                the step starts, so nothing is half done.
        """
        left = self.remaining_s()
        if left < seconds or left <= 0:
            needed_ms, had_ms = f"{seconds * 1e3:.1f}", f"{left * 1e3:.1f}"
            msg = f"{hop}: {had_ms} ms left, {needed_ms} ms needed"
            raise BudgetExhaustedError(msg, hop=hop, needed_ms=needed_ms, had_ms=had_ms)


_current: ContextVar[Budget | None] = ContextVar("hasten_budget", default=None)


def current_budget() -> Budget | None:
    """Return the budget this task works under; None outside of any request."""
    return _current.get()


@contextmanager
def spending(budget: Budget | None) -> Iterator[None]:
    """Let everything inside work under `budget`; None lifts the limit of the caller."""
    token = _current.set(budget)
    try:
        yield
    finally:
        _current.reset(token)


def adopt(budget: Budget | None) -> None:
    """Let the rest of this task work under `budget`; for a task that serves one call."""
    _current.set(budget)
