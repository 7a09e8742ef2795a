"""How long the lookup by meaning goes alone, learned from those that took longer than a moment.

Most lookups end within their policy's head start. Of the others the cache asks the verifier,
which takes about as long again: a search beside it takes the cores that both would need, and
is thrown away if the answer serves. So while most of them end in a hit, they are waited for.
"""

from __future__ import annotations

# Weight of the newest lookup in what is known of them.
_NEWEST = 0.05
# The longer wait pays while no more misses wait for nothing than hits save a search.
_ENOUGH_HITS = 0.5
# Of lookups that hit, those that the longer wait is to be long enough for.
_QUANTILE = 0.9
# A step of what is known of their time: up by so much for each that took longer, and down for
# the others by what keeps the balance at the quantile.
_STEP = 0.1
# A wait is at most so many head starts, and such a share of the time that is left.
_MOST = 4.0
_LEFT_SHARE = 0.02


class Lead:
    """What is known of lookups that were open when their head start was over."""

    def __init__(self) -> None:
        self._hits = 1.0
        self._hit_after = _MOST

    def head_start_s(self, usual_s: float, left_s: float) -> float:
        """Return for how many seconds the lookup goes alone.

        Args:
            usual_s: the policy's head start; 0 allows none.
            left_s: seconds that are left to the first text.
        """
        if self._hits < _ENOUGH_HITS:
            return usual_s
        return max(usual_s, min(usual_s * self._hit_after, left_s * _LEFT_SHARE))

    def learn(self, usual_s: float, took_s: float, *, is_hit: bool) -> None:
        """Note how a lookup ended; one that ended within its head start says nothing."""
        if not 0 < usual_s < took_s:
            return
        self._hits += _NEWEST * (is_hit - self._hits)
        if is_hit:
            is_longer = took_s > usual_s * self._hit_after
            step = _STEP * (_QUANTILE if is_longer else _QUANTILE - 1)
            self._hit_after = min(_MOST, max(1.0, self._hit_after * (1 + step)))
