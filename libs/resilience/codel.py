"""Tells a standing queue from a burst, by how long calls have waited.

CoDel (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012) in the form
that folly gives it for servers (`folly/executors/Codel.cpp`): a queue is bad if not even
the luckiest call of a whole interval got through quickly. While it is, calls that have
waited too long are refused; the rest is served, so the server stays busy.
"""

from __future__ import annotations

import math

# Both are folly's and the paper's. The target is what a short queue costs anyway; the
# interval is longer than a burst that drains by itself.
TARGET_S = 0.005
INTERVAL_S = 0.1
# folly's "slough timeout": refused is what waited for twice the target.
_PATIENCE = 2.0


class Codel:
    """Judges calls by their delay; O(1), and keeps three numbers."""

    def __init__(self, *, target_s: float = TARGET_S, interval_s: float = INTERVAL_S) -> None:
        """Begin without a queue.

        Args:
            target_s: seconds that a call may wait while all is well.
            interval_s: seconds over which the least delay must exceed the target.
        """
        self._target_s = target_s
        self._interval_s = interval_s
        self._least_s = math.inf
        self._ends_s = -math.inf
        self.is_overloaded = False

    def sheds(self, delay_s: float, now_s: float, *, background: bool = False) -> bool:
        """Note a call's delay, and return whether the call is to be refused.

        Never the first call of an interval: one call alone does not make a queue.

        Args:
            delay_s: seconds that it has waited.
            now_s: seconds that only go forward.
            background: True refuses it at the target already, before interactive calls.
        """
        if now_s >= self._ends_s:
            self._turn(now_s)
            self._least_s = delay_s
            return False
        self._least_s = min(self._least_s, delay_s)
        patience = 1.0 if background else _PATIENCE
        return self.is_overloaded and delay_s > patience * self._target_s

    def _turn(self, now_s: float) -> None:
        # What was seen before a long silence says nothing: the queue has drained since.
        is_recent = now_s < self._ends_s + self._interval_s
        self.is_overloaded = is_recent and self._least_s > self._target_s
        self._ends_s = now_s + self._interval_s
