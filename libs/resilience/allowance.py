"""The share of calls that may be sent more than once."""

from __future__ import annotations

# One call may be sent again before any was counted, so a quiet process can hedge its first.
RESERVE = 1.0


class Allowance:
    """One token bucket for all that is sent again, be it a retry or a hedge.

    Each ordinary call pays in a share of an extra one, each extra call takes one out. So a
    backend that fails every call is asked at most `1 + share` times as often, and not twice
    (as Finagle's `RetryBudget`, with one purse for both). Whatever happens, extra calls are
    never more than `burst + share * calls`.
    """

    __slots__ = ("_available", "_burst", "_share")

    def __init__(self, share: float = 0.05, burst: float = 100.0, reserve: float = RESERVE) -> None:
        """Open with `reserve`, or `burst` if that is less.

        Args:
            share: extra calls for each ordinary one, in [0, 1].
            burst: extra calls that may be saved up, enough for all calls in flight at one
                backend that dies; below 1 none is ever allowed.
            reserve: extra calls to begin with.

        Raises:
            ValueError: one of them is out of range.
        """
        if not (0 <= share <= 1 and burst >= 0 and reserve >= 0):
            raise ValueError(f"no allowance has share {share}, burst {burst}, reserve {reserve}")
        self._share = share
        self._burst = burst
        self._available = min(reserve, burst)

    @property
    def available(self) -> float:
        """Extra calls that could be sent now."""
        return self._available

    def deposit(self) -> None:
        """Pay in for an ordinary call."""
        self._available = min(self._burst, self._available + self._share)

    def withdraw(self) -> bool:
        """Take out one extra call, and return whether it may be sent."""
        if self._available < 1:
            return False
        self._available -= 1
        return True
