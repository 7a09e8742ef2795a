"""Leaves a backend alone that has failed, and asks now and then whether it is well again."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When a breaker opens, and how soon it tries again.

    The first three are linkerd's and Envoy's customary values; the back-off is short, so
    that a mesh on one machine is whole again within a second or two of a restart.

    Attributes:
        consecutive: failures without a success between them that open it.
        least_share: share of successes below which it opens, in [0, 1].
        least_calls: calls in the window without which the share says nothing.
        window_s: length of the window, in seconds.
        first_back_off_s: seconds from opening to the first probe, on average.
        last_back_off_s: the longest such pause; each failed probe doubles it.
        jitter: share by which a pause may be longer or shorter, so that the callers of a
            backend do not all probe it together; in [0, 1).
        probe_limit_s: seconds after which a probe that nobody ended is taken for lost.
    """

    consecutive: int = 5
    least_share: float = 0.8
    least_calls: int = 10
    window_s: float = 30.0
    first_back_off_s: float = 0.25
    last_back_off_s: float = 1.0
    jitter: float = 0.2
    probe_limit_s: float = 5.0


# The window moves in steps of this share of it: old calls leave it late by one step at most.
_STEPS = 10
# No ticket: those are numbers from 1 on, and 0 stands for a call that was not admitted.
_NONE = -1


class Breaker:
    """Closed: calls pass and are counted. Open: none passes but one probe at a time.

    Each admitted call gets a ticket, a number higher than those before it, and gives it back
    with its end. What a call says of times that are over is not counted: not if it began
    before the breaker last opened or closed, and not as one more failure in a row if it
    began before that row. So the many calls that one backend of several takes with it when it
    dies count as one, and the others go on being called.
    """

    __slots__ = (
        "_back_off_s",
        "_clock",
        "_draw",
        "_failures",
        "_in_row",
        "_is_open",
        "_issued",
        "_limits",
        "_probe",
        "_retry_at_s",
        "_row_since",
        "_since",
        "_step_ends_s",
        "_step_s",
        "_steps",
        "_successes",
    )

    def __init__(
        self,
        limits: BreakerLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Start closed.

        Args:
            limits: when to open, and how soon to try again.
            clock: seconds that only go forward.
            draw: numbers in [0, 1), for the jitter.
        """
        self._limits = limits or BreakerLimits()
        self._clock = clock
        self._draw = draw
        self._issued = 0
        self._since = 0
        self._row_since = 0
        self._probe = _NONE
        self._is_open = False
        self._retry_at_s = 0.0
        self._back_off_s = 0.0
        self._step_s = self._limits.window_s / _STEPS
        self._clear()

    @property
    def is_open(self) -> bool:
        """True from the failure that opened it to the probe that closes it."""
        return self._is_open

    def allows(self) -> bool:
        """Return whether a call would be admitted now; takes no probe's place."""
        return not self._is_open or self._clock() >= self._retry_at_s

    def retry_after_s(self) -> float:
        """Return the seconds until the next probe may start; 0 if a call may start now."""
        return max(0.0, self._retry_at_s - self._clock()) if self._is_open else 0.0

    def admit(self) -> int:
        """Return a ticket for one call, or 0 if none may be made now.

        While the breaker is open the call is the probe. Its caller ends the ticket with
        `succeeded`, `failed` or, if it will not know, `abandoned`.
        """
        if self._is_open:
            now = self._clock()
            if now < self._retry_at_s:
                return 0
            # No other until this one has ended, or long after, in case that is never told.
            self._retry_at_s = now + self._limits.probe_limit_s
            self._probe = self._issued + 1
        self._issued += 1
        return self._issued

    def succeeded(self, ticket: int) -> None:
        """Count a call that the backend served."""
        if self._is_open:
            if ticket == self._probe:
                self._close()
        elif ticket > self._since:
            self._in_row = 0
            if self._clock() >= self._step_ends_s:
                self._advance()
            self._successes += 1

    def failed(self, ticket: int) -> None:
        """Count a call that the backend failed."""
        if self._is_open:
            if ticket == self._probe:
                self._wait(self._back_off_s * 2)
        elif ticket > self._since:
            self._count_failure(ticket)
            if self._is_bad():
                self._is_open = True
                self._wait(self._limits.first_back_off_s)

    def abandoned(self, ticket: int) -> None:
        """Note that a call ended without saying anything of the backend.

        Its caller left, or its time was up. If it was the probe, another may start at once.
        """
        if self._is_open and ticket == self._probe:
            self._retry_at_s = self._clock()
            self._probe = _NONE

    def _count_failure(self, ticket: int) -> None:
        if not self._in_row:
            self._in_row = 1
            self._row_since = self._issued
        elif ticket > self._row_since:
            self._in_row += 1
        if self._clock() >= self._step_ends_s:
            self._advance()
        self._failures += 1

    def _wait(self, back_off_s: float) -> None:
        """Admit no probe for a while."""
        self._back_off_s = min(back_off_s, self._limits.last_back_off_s)
        spread = 1 + self._limits.jitter * (2 * self._draw() - 1)
        self._retry_at_s = self._clock() + self._back_off_s * spread
        self._probe = _NONE

    def _close(self) -> None:
        self._is_open = False
        self._since = self._issued
        self._clear()

    def _clear(self) -> None:
        self._in_row = 0
        self._successes = self._failures = 0
        self._steps: deque[tuple[int, int]] = deque([(0, 0)] * (_STEPS - 1), _STEPS - 1)
        self._step_ends_s = self._clock() + self._step_s

    def _advance(self) -> None:
        """Begin the next step of the window, and forget those that have left it."""
        passed = int((self._clock() - self._step_ends_s) / self._step_s) + 1
        # What is counted is counted of the whole window: old steps are taken off.
        held = (
            self._successes - sum(step[0] for step in self._steps),
            self._failures - sum(step[1] for step in self._steps),
        )
        for step in (held, *((0, 0),) * min(passed - 1, _STEPS)):
            gone = self._steps[0]
            self._successes -= gone[0]
            self._failures -= gone[1]
            self._steps.append(step)
        self._step_ends_s += passed * self._step_s

    def _is_bad(self) -> bool:
        limits = self._limits
        if self._in_row >= limits.consecutive:
            return True
        calls = self._successes + self._failures
        return calls >= limits.least_calls and self._successes < limits.least_share * calls
