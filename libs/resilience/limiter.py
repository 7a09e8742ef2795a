"""How much may be in flight at once, learned from how long first responses take.

The gradient of Netflix's `Gradient2Limit` (github.com/Netflix/concurrency-limits): while
calls take longer than they do on a quiet server, the limit shrinks in proportion; while
they do not, it grows. Four things differ, each for a reason:

- The two averages are kept for each method (`Pace`), the limit for the whole server: a
  change in what is asked is not taken for a change in how fast it is answered.
- What a quiet server takes is learned only from calls that found it at most half full.
  Netflix averages over all calls, and so takes a long overload for the normal state.
- A limit that is far away shrinks, too, once calls take three times as long as on a quiet
  server. Impatient callers leave before it is reached, and would be served in vain for ever.
- If there were no such calls for `PROBE_AFTER_S`, the limit is halved until a few came in.
  A service that has become slower for good is told from one with a queue by that.
"""

from __future__ import annotations

# Netflix's defaults: how much longer than on a quiet server is still fine, how far one
# sample moves the limit, what may always wait, and how much a sample can take away.
TOLERANCE = 1.5
_SMOOTHING = 0.2
_QUEUE = 4.0
_LEAST_GRADIENT = 0.5
_WARM_UP_COUNT = 10
_LONG = 2 / 601
# A server that is not even half full grows no limit, and shrinks it no further than this.
_FAR = 16
# The short average: about the last ten calls.
_SHORT = 0.2

PROBE_AFTER_S = 10.0
_PROBE_COUNT = 10
# During a probe: ten calls move the average by two thirds.
_PROBED = 0.1


class Pace:
    """How long one method takes to its first response: on a quiet server, and now.

    Attributes:
        long_s: seconds on a server that is at most half full; 0 if not known.
        short_s: seconds of about the last ten calls; 0 if there were none.
    """

    __slots__ = ("_count", "_tolerance", "long_s", "short_s")

    def __init__(self, tolerance: float = TOLERANCE) -> None:
        """Know nothing yet.

        Args:
            tolerance: how many times as long as on a quiet server is still fine, above 1.
        """
        self._tolerance = tolerance
        self.long_s = 0.0
        self.short_s = 0.0
        self._count = 0

    @property
    def is_known(self) -> bool:
        """True once enough calls were seen to compare with."""
        return self._count >= _WARM_UP_COUNT

    def note(self, took_s: float) -> None:
        """Take one call into the short average."""
        self.short_s += (_SHORT if self.short_s else 1.0) * (took_s - self.short_s)
        if not self.is_known:
            self._count += 1
            self.long_s += (took_s - self.long_s) / self._count
        elif self.long_s > 2 * self.short_s:
            # It has become much faster: Netflix forgets the slow times quickly, too.
            self.long_s *= 0.95

    def note_quiet(self, took_s: float, weight: float = _LONG) -> None:
        """Take one call on a quiet server into the long average."""
        self.long_s += weight * (took_s - self.long_s)

    def gradient(self) -> float:
        """Return what the limit is to be multiplied by, in [0.5, 1]."""
        if self.short_s <= 0:
            return 1.0
        return max(_LEAST_GRADIENT, min(1.0, self._tolerance * self.long_s / self.short_s))


class Limiter:
    """Counts what is in flight, in units of cost, and moves its own limit.

    Attributes:
        in_flight: units that are let in and not released.
        limit: units that may be; at least 1, at most what it was made with.
    """

    def __init__(self, most: int, *, adapts: bool = True) -> None:
        """Begin with the limit at `most`; it never moves if `adapts` is False."""
        self.in_flight = 0
        self.limit = most
        self._most = most
        self._adapts = adapts
        self._exact = float(most)
        self._quiet_at_s: float | None = None
        self._probes_left = 0

    def acquire(self, cost: int = 1, share: float = 1.0) -> int:
        """Let a call in if there is room; return what to release later, 0 if there is none.

        An empty server takes any call, so that nothing is refused for ever. A call that
        costs more than there is costs all there is.

        Args:
            cost: units, at least 1.
            share: part of the limit that this kind of call may fill, in (0, 1].
        """
        limit = self.limit if self._probes_left == 0 else max(1, self.limit // 2)
        cost = min(cost, limit)
        if self.in_flight and self.in_flight + cost > share * limit:
            return 0
        self.in_flight += cost
        return cost

    def force(self, cost: int = 1) -> None:
        """Let a call in whether or not there is room; it must be released as any other."""
        self.in_flight += cost

    def release(self, cost: int) -> None:
        """Give back what `acquire` returned."""
        self.in_flight -= cost

    def learn(
        self, pace: Pace, took_s: float, *, found: int, now_s: float, cut: bool = False
    ) -> None:
        """Learn from a call's first response, or from its having none.

        Only the time to the first response counts: a long stream is no sign of load.

        Args:
            pace: the method's.
            took_s: seconds from the call's start to its first response.
            found: units that were in flight when it came in, itself left out.
            now_s: seconds that only go forward.
            cut: True if its caller left or its time ended first. It would have taken at
                least that long: it counts if that is longer than usual, else it says
                nothing. It is never taken for a fast one.
        """
        if cut and (not pace.is_known or took_s <= pace.short_s):
            return
        pace.note(took_s)
        # A call that came in under a larger limit says nothing about this one.
        if self._adapts and pace.is_known and found < self.limit:
            self._move(pace.gradient(), found)
        if not cut:
            self._look(pace, took_s, found, now_s)

    def _look(self, pace: Pace, took_s: float, found: int, now_s: float) -> None:
        """Learn what calls take on a quiet server, and go and find out if none is."""
        if found == 0 or 2 * found < self.limit:
            if self._probes_left:
                pace.note_quiet(took_s, _PROBED)
                self._probes_left -= 1
            else:
                pace.note_quiet(took_s)
            self._quiet_at_s = now_s
        elif self._quiet_at_s is None:
            self._quiet_at_s = now_s
        elif now_s - self._quiet_at_s > PROBE_AFTER_S and self._adapts:
            self._quiet_at_s = now_s
            self._probes_left = _PROBE_COUNT

    def _move(self, gradient: float, found: int) -> None:
        """Follow the gradient, as far as a server that had `found` in flight can tell."""
        used, exact = 2 * (found + 1), self._exact
        if self.limit <= used:
            exact += _SMOOTHING * (exact * gradient + _QUEUE - exact)
        elif gradient <= _LEAST_GRADIENT and self.limit > _FAR:
            # Far from the limit, and yet a queue: callers leave before it has filled up.
            exact = max(exact * (1 - _SMOOTHING * gradient), used, _FAR)
        self._exact = max(1.0, min(float(self._most), exact))
        self.limit = int(self._exact)
