"""What a hop has cost lately, counting the calls that were cut for what they tell."""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_left
from collections.abc import Callable
from math import exp2, inf
from typing import Self

import numpy as np

from libs.resilience.distribution import Distribution
from libs.resilience.grid import BUCKETS, EDGES, LEAST_S, MOST_S
from libs.resilience.survival import Counts, informed, lifetimes

# Weights are kept as powers of two and must stay finite; far below 2 ** 1023.
_MOST_HALVINGS = 64.0

# Below it nothing is left of a weight but rounding; there is no inverse of far less.
_LEAST_WEIGHT = 1e-200

# Version, grid, weight of the latest observation; counts; checksum of both.
_MAGIC = b"HSK1"
_HEAD = struct.Struct("<4sIddd")
_BODY = struct.Struct(f"<{2 * BUCKETS}d")
_CHECKSUM = struct.Struct("<I")


class DamagedSketchError(Exception):
    """The bytes are no sketch, or not all of one, or one over another grid."""


class Sketch:
    """Counts of calls by how long they took, fading with age.

    A call that was cut, by a deadline or because another one won, took *at least* as long as
    it was given. It is counted as such (right-censored), neither dropped nor taken to have
    ended: both make an adaptive deadline run away when a hop slows down.

    A count fades by half in each half-life. No count is touched for that: a new one weighs
    more instead (Cormode et al., "Forward Decay", ICDE 2009), and now and then all are
    scaled back. Not to be shared between threads.
    """

    def __init__(self, half_life_s: float | None, clock: Callable[[], float]) -> None:
        """Make an empty sketch.

        Args:
            half_life_s: seconds in which a count fades by half; None keeps all for ever.
            clock: seconds that only go forward.

        Raises:
            ValueError: the half-life is not above 0.
        """
        if half_life_s is not None and not half_life_s > 0:
            raise ValueError(f"a half-life of {half_life_s} s is not above 0")
        self._halvings_per_s = 1 / half_life_s if half_life_s else 0.0
        self._clock = clock
        self._since = clock()
        self._latest = 0.0
        self._ended = [0.0] * BUCKETS
        self._cut = [0.0] * BUCKETS

    def add(self, seconds: float) -> None:
        """Count a call that ended after `seconds`."""
        # Not split into functions: this runs for each call of each hop.
        halvings = (self._clock() - self._since) * self._halvings_per_s
        if halvings > _MOST_HALVINGS:
            halvings = self._rescale()
        self._latest = weight = exp2(halvings)
        self._ended[bisect_left(EDGES, seconds)] += weight

    def add_censored(self, seconds: float) -> None:
        """Count a call that was cut after `seconds`: it would have taken at least that long."""
        halvings = (self._clock() - self._since) * self._halvings_per_s
        if halvings > _MOST_HALVINGS:
            halvings = self._rescale()
        self._latest = weight = exp2(halvings)
        self._cut[bisect_left(EDGES, seconds)] += weight

    @property
    def count(self) -> float:
        """Calls counted, faded to now, those that were cut among them."""
        return (sum(self._ended) + sum(self._cut)) * self._scale()

    @property
    def censored_count(self) -> float:
        """Calls counted that were cut, faded to now."""
        return sum(self._cut) * self._scale()

    def distribution(self) -> Distribution:
        """Return how long a call takes, by all that is known; never, if nothing is.

        The Kaplan-Meier estimate with a tail, as `survival.lifetimes` says. Time in which
        nothing was counted does not change it.
        """
        known = self._latest > _LEAST_WEIGHT
        return lifetimes(self._counts(1 / self._latest) if known else None)

    def blended(self, prior: Distribution, weight: float) -> Distribution:
        """Return the distribution with a prior that counts as `weight` calls, above 0.

        Calls fade and the prior does not, so a hop that has not been called for long is
        expected to be as it was before anything was known of it. See `survival.informed`.
        """
        return informed(self._counts(self._scale()), prior, weight)

    def merge(self, other: Self) -> None:
        """Count what another sketch has counted; both are taken to be read now."""
        theirs = other._counts(other._scale())
        self._rescale()
        self._ended = [one + more for one, more in zip(self._ended, theirs.ended, strict=True)]
        self._cut = [one + more for one, more in zip(self._cut, theirs.cut, strict=True)]
        self._latest = max(self._latest, other._latest * other._scale())

    def to_bytes(self) -> bytes:
        """Return the counts, faded to now; the half-life and the clock are not kept."""
        scale = self._scale()
        counts = self._counts(scale)
        head = _HEAD.pack(_MAGIC, BUCKETS, LEAST_S, MOST_S, self._latest * scale)
        data = head + _BODY.pack(*counts.ended, *counts.cut)
        return data + _CHECKSUM.pack(zlib.crc32(data))

    @classmethod
    def from_bytes(cls, data: bytes, half_life_s: float | None, clock: Callable[[], float]) -> Self:
        """Return a sketch of counts that were kept, as if not a second had passed since.

        Raises:
            DamagedSketchError: they are not whole, or of another version or grid.
        """
        sketch = cls(half_life_s, clock)
        sketch._latest, counts = _unpacked(data)
        sketch._ended, sketch._cut = counts[:BUCKETS], counts[BUCKETS:]
        return sketch

    def _scale(self) -> float:
        """Return what a weight is worth now."""
        return exp2((self._since - self._clock()) * self._halvings_per_s)

    def _counts(self, scale: float) -> Counts:
        return Counts(np.array(self._ended) * scale, np.array(self._cut) * scale)

    def _rescale(self) -> float:
        """Let the weight of a new call be 1 again, and return its exponent."""
        now = self._clock()
        scale = exp2((self._since - now) * self._halvings_per_s)
        self._since = now
        self._latest *= scale
        self._ended = [count * scale for count in self._ended]
        self._cut = [count * scale for count in self._cut]
        return 0.0


def _unpacked(data: bytes) -> tuple[float, list[float]]:
    """Return the latest weight and the counts of both kinds, once they are known to be whole."""
    if len(data) != _HEAD.size + _BODY.size + _CHECKSUM.size:
        raise DamagedSketchError(f"a sketch is not {len(data)} bytes long")
    content, checksum = data[: -_CHECKSUM.size], data[-_CHECKSUM.size :]
    if _CHECKSUM.pack(zlib.crc32(content)) != checksum:
        raise DamagedSketchError("the checksum is not that of the content")
    *form, latest = _HEAD.unpack_from(content)
    if form != [_MAGIC, BUCKETS, LEAST_S, MOST_S]:
        raise DamagedSketchError(f"version and grid are {form}")
    counts = list(_BODY.unpack_from(content, _HEAD.size))
    if not all(0 <= count < inf for count in (latest, *counts)):
        raise DamagedSketchError("a count is not a count")
    if latest > sum(counts) * (1 + 1e-9):
        raise DamagedSketchError("one call weighs more than all")
    return latest, counts
