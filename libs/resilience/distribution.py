"""How long something takes, as a probability for each bucket of the grid."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import NDArray

from libs.resilience.grid import BUCKETS, EDGES, MOST_S, NEVER, REPRESENTATIVES_S, index

_P99_DEVIATIONS = NormalDist().inv_cdf(0.99)
# What is left of a probability of one by rounding alone.
_DUST = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """The time that something takes, with the chance that it ends at all.

    A value between two representatives is kept as a share of each, so that the mean is
    exact; each such split widens the distribution by no more than a bucket. Every operation
    takes its operands to be independent.

    Attributes:
        masses: probability of each bucket of the grid, summing to 1; the last is that of
            never, which is what takes longer than `grid.MOST_S`. Not to be written to.
    """

    masses: NDArray[np.float64]
    # Probability of not more than each edge; a list, which is read faster than an array.
    _below: list[float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.masses.setflags(write=False)
        object.__setattr__(self, "_below", _below(self.masses))

    @classmethod
    def of_masses(cls, masses: NDArray[np.float64]) -> Self:
        """Make a distribution of weights that need not sum to 1.

        Raises:
            ValueError: there is no weight, or a negative one.
        """
        total = float(masses.sum())
        if masses.shape != (BUCKETS,) or masses.min() < 0 or not 0 < total < math.inf:
            raise ValueError(f"{BUCKETS} weights that are not negative are needed, and one above 0")
        return cls(masses / total)

    @classmethod
    def point(cls, seconds: float) -> Self:
        """Return what always takes `seconds`."""
        return cls(_placed(np.array([seconds]), np.ones(1)))

    @classmethod
    def never(cls) -> Self:
        """Return what does not end."""
        return cls.point(math.inf)

    @classmethod
    def lognormal(cls, median_s: float, p99_s: float) -> Self:
        """Return the lognormal through a median and a 99th percentile.

        The start before anything was measured, from the targets of a policy.

        Raises:
            ValueError: the median is not above 0, or the percentile is below it.
        """
        if not 0 < median_s <= p99_s < math.inf:
            raise ValueError(f"no lognormal has median {median_s} s and p99 {p99_s} s")
        deviation = math.log(p99_s / median_s) / _P99_DEVIATIONS
        if not deviation:
            return cls.point(median_s)
        normal = NormalDist(math.log(median_s), deviation)
        below = [normal.cdf(math.log(edge)) for edge in EDGES]
        return cls(np.diff(below, prepend=0.0, append=1.0))

    @classmethod
    def of_samples(cls, values: Iterable[float]) -> Self:
        """Return the distribution of values that were seen, in seconds.

        Raises:
            ValueError: there are none.
        """
        counts = np.zeros(BUCKETS)
        for value in values:
            counts[index(value)] += 1
        return cls.of_masses(counts)

    def cdf(self, seconds: float) -> float:
        """Return the probability of an end within `seconds`.

        Linear between the edges of a bucket; the first bucket is taken to be at 0.
        """
        at = bisect_left(EDGES, seconds)
        below = self._below
        if 0 < at < NEVER:
            low, least, most = EDGES[at - 1], below[at - 1], below[at]
            found = least + (most - least) * ((seconds - low) / (EDGES[at] - low))
            # A call of `min` would cost a fifth of all this.
            return found if found < most else most  # noqa: FURB136
        return 0.0 if seconds < 0 else below[min(at, NEVER - 1)]

    def quantile(self, q: float) -> float:
        """Return the seconds within which a share `q`, in [0, 1], ends; `inf` if it never does."""
        below = self._below
        at = bisect_left(below, q)
        if at == 0:
            return 0.0
        if at >= NEVER:
            return math.inf
        share = (q - below[at - 1]) / (below[at] - below[at - 1])
        return EDGES[at - 1] + share * (EDGES[at] - EDGES[at - 1])

    def never_share(self) -> float:
        """Return the probability that no end is in sight."""
        return float(self.masses[NEVER])

    def mean_s(self) -> float:
        """Return the mean in seconds, with never counted as `grid.MOST_S`.

        The restricted mean of survival analysis: finite, whatever is in the tail.
        """
        return float(self.masses[:NEVER] @ REPRESENTATIVES_S) + self.never_share() * MOST_S

    def then(self, other: Self) -> Self:
        """Return the time of both, one after the other."""
        ours, theirs = _support(self.masses), _support(other.masses)
        weights = np.outer(self.masses[ours], other.masses[theirs])
        lower, upper_share = (table[ours, theirs] for table in _sums())
        upper = weights * upper_share
        whole = np.bincount(lower.ravel(), (weights - upper).ravel(), BUCKETS)
        masses = whole.astype(np.float64)
        masses[1:] += np.bincount(lower.ravel(), upper.ravel(), BUCKETS)[:-1]
        # What never ends is in no sum of two ends.
        masses[NEVER] += _either(self.never_share(), other.never_share())
        return self.of_masses(masses)

    def shifted(self, seconds: float) -> Self:
        """Return the time `seconds` longer; if negative, shorter, and never below 0."""
        return self._moved(np.maximum(REPRESENTATIVES_S + seconds, 0.0))

    def scaled(self, factor: float) -> Self:
        """Return the time `factor` times as long.

        Raises:
            ValueError: the factor is negative.
        """
        if factor < 0:
            raise ValueError(f"a time cannot be {factor} times as long")
        return self._moved(REPRESENTATIVES_S * factor)

    def mixed(self, other: Self, share: float) -> Self:
        """Return what is `other` with probability `share`, in [0, 1], and else this."""
        return self.of_masses((1 - share) * self.masses + share * other.masses)

    def capped(self, limit_s: float) -> Self:
        """Return the time of what is cut at `limit_s`: what would take longer ends there."""
        values = np.append(np.minimum(REPRESENTATIVES_S, limit_s), limit_s)
        return type(self)(_placed(values, self.masses))

    def given_over(self, elapsed_s: float) -> Self:
        """Return the whole time of what has not ended after `elapsed_s`.

        What should have ended by then, by all that is known, is taken never to end.
        """
        at = index(elapsed_s)
        if at == 0:  # nothing that the grid could tell apart
            return self
        kept = np.where(np.arange(BUCKETS) < at, 0.0, self.masses)
        if at < NEVER:
            kept[at] *= (EDGES[at] - elapsed_s) / (EDGES[at] - EDGES[at - 1])
        return self.of_masses(kept) if kept.sum() > _DUST else self.never()

    def sooner(self, other: Self) -> Self:
        """Return the time until the first of the two ends."""
        ours, theirs = self.masses, other.masses
        return self.of_masses(ours * _from(theirs) + theirs * (_from(ours) - ours))

    def later(self, other: Self) -> Self:
        """Return the time until both have ended, begun at once."""
        ours, theirs = self.masses, other.masses
        return self.of_masses(ours * np.cumsum(theirs) + theirs * (np.cumsum(ours) - ours))

    def _moved(self, values_s: NDArray[np.float64]) -> Self:
        """Return the distribution with each representative moved; never stays never."""
        return type(self)(_placed(np.append(values_s, math.inf), self.masses))


def _below(masses: NDArray[np.float64]) -> list[float]:
    """Return the probability of not more than each edge; exact at the top, where sums are not."""
    in_sight = 1.0 - float(masses[NEVER])
    sums = np.minimum(np.cumsum(masses[:NEVER]), in_sight)
    sums[_support(masses).stop - 1 :] = in_sight
    below: list[float] = sums.tolist()
    return below


def _support(masses: NDArray[np.float64]) -> slice:
    """Return the smallest range of buckets that holds every end in sight."""
    found = np.flatnonzero(masses[:NEVER])
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 1)


def _from(masses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each bucket or a later one."""
    sums: NDArray[np.float64] = np.cumsum(masses[::-1])[::-1]
    return sums


def _either(one: float, other: float) -> float:
    return one + other - one * other


def _split(values_s: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the bucket below each value, and the share that belongs to the next one.

    The shares are those that keep the mean. Between the last representative and `MOST_S`
    there is no next one but never, so all stays below.
    """
    lower = np.searchsorted(REPRESENTATIVES_S, values_s, "right") - 1
    nearest = np.minimum(lower, NEVER - 2)
    start, end = REPRESENTATIVES_S[nearest], REPRESENTATIVES_S[nearest + 1]
    within = lower < NEVER - 1
    share = np.where(within, (np.where(within, values_s, 0.0) - start) / (end - start), 0.0)
    return np.where(values_s > MOST_S, NEVER, lower), share


def _placed(values_s: NDArray[np.float64], masses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the masses of the grid for masses at any values of 0 or more."""
    lower, share = _split(values_s)
    placed = np.bincount(lower, masses * (1 - share), BUCKETS)
    placed[1:] += np.bincount(lower, masses * share, BUCKETS)[:-1]
    total: float = placed.sum()
    return placed / total


@cache
def _sums() -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return, for each pair of buckets, where their sum lies; 1.3 MB, made on first use."""
    lower, share = _split(np.add.outer(REPRESENTATIVES_S, REPRESENTATIVES_S))
    return lower, share
