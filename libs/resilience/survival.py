"""From counts of calls that ended and calls that were cut to a distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from libs.resilience.distribution import Distribution
from libs.resilience.grid import BUCKETS, GROWTH, NEVER

# The tail goes on as the last doubling of time went: wide enough to hold many ends, narrow
# enough that what happened far below says nothing.
TAIL_BUCKETS = round(float(np.log(2) / np.log(GROWTH)))
# What one call that nothing is known of does in a bucket: half are over each time that the
# time doubles.
TAIL_PRIOR_HAZARD = 1 - 0.5 ** (1 / TAIL_BUCKETS)

# Beside its own weight, a prior counts as so many calls wherever it is looked at, however few
# are left there: where next to nothing is known, the rate counts at which it lets calls end.
TAIL_CALLS = 10.0
# But not above this: three of four are over each time that the time doubles. So a prior that
# is far too short is outvoted by some tens of calls.
TAIL_RATE = 1 - 0.25 ** (1 / TAIL_BUCKETS)
# A prior of which less than this is left says nothing of what ends when.
_LEAST_LEFT = 1e-9


@dataclass(frozen=True, slots=True)
class Counts:
    """Calls by the bucket of the grid at which they were last seen.

    Attributes:
        ended: those that ended there.
        cut: those that were cut there and would have taken longer.
    """

    ended: NDArray[np.float64]
    cut: NDArray[np.float64]


def lifetimes(counts: Counts | None) -> Distribution:
    """Return how long calls take that are counted in units of the newest one.

    Up to the last bucket where at least one whole call is at risk it is the estimate of
    Kaplan & Meier ("Nonparametric Estimation from Incomplete Observations", JASA 53(282),
    1958): a call in flight at a time ends there with probability ended / at risk. In a bucket,
    ends come before cuts, so a call that was cut there was at risk of each end there. Where
    less than one call is at risk only faded ones are left, which say nothing of today.

    What is then left of the probability lies above anything that was seen. It follows the
    *tail rule*, see `_tail`: never "all at the last value", and "never" only as far as the
    calls themselves say so.

    Args:
        counts: None stands for no calls at all, which says never.
    """
    if counts is None:
        return Distribution.never()
    at_risk = np.cumsum((counts.ended + counts.cut)[::-1])[::-1]
    # A weight of one is one up to rounding.
    last = int(np.flatnonzero(at_risk >= 1 - 1e-9)[-1])
    hazard = counts.ended[: last + 1] / at_risk[: last + 1]
    left = np.cumprod(1 - np.minimum(hazard, 1.0))
    masses = np.zeros(BUCKETS)
    masses[: last + 1] = hazard * np.concatenate(([1.0], left[:-1]))
    masses[last + 1 :] += left[-1] * _tail(counts.ended, at_risk, last)
    if last == NEVER:
        masses[NEVER] += left[-1]
    return Distribution.of_masses(np.maximum(masses, 0.0))


def informed(counts: Counts, prior: Distribution, weight: float) -> Distribution:
    """Return how long calls take, with a prior that counts as `weight` calls.

    In each bucket the share of the calls at risk that ends there is the mean of what was
    seen and of what the prior says, each by its weight: the posterior of a beta process
    (Hjort, "Nonparametric Bayes Estimators Based on Beta Processes in Models for Life
    History Data", Annals of Statistics 18(3), 1990).

    So what lies above all that was let go on is told by the prior, and not by the last that
    was seen, as in `lifetimes`. Where calls are always cut at the same time, what they would
    have taken is found out only if it is not feared to be for ever: an end is expected, so
    somebody waits for it, and sees.
    """
    at_risk = np.cumsum((counts.ended + counts.cut)[::-1])[::-1]
    believed = np.cumsum(prior.masses[::-1])[::-1]
    is_known = believed > _LEAST_LEFT
    rate = np.where(is_known, prior.masses / np.where(is_known, believed, 1.0), TAIL_PRIOR_HAZARD)
    tail = np.minimum(rate, TAIL_RATE)
    # Where nothing was seen the prior stands alone, as it is.
    extra = TAIL_CALLS * at_risk / (at_risk + TAIL_CALLS)
    ended = counts.ended + weight * believed * rate + extra * tail
    whole = at_risk + weight * believed + extra
    hazard = np.where(whole > 0, np.minimum(ended / np.where(whole > 0, whole, 1.0), 1.0), rate)
    hazard[NEVER] = 1.0
    left = np.cumprod(1 - hazard)
    return Distribution.of_masses(hazard * np.concatenate(([1.0], left[:-1])))


def _tail(
    ended: NDArray[np.float64], at_risk: NDArray[np.float64], last: int
) -> NDArray[np.float64]:
    """Return the shares of the buckets after `last`, for what is not over by then.

    In each later bucket the same share of what is left ends. On a grid of constant growth
    that is a Pareto tail, whose weight is taken from the ends among the calls at risk in the
    last `TAIL_BUCKETS` (Hill, "A Simple General Approach to Inference About the Tail of a
    Distribution", Annals of Statistics 3(5), 1975) and from one more call, of which nothing
    is known. Service times thin out faster than that, so quantiles in the tail are rather
    too long than too short: a deadline made of them gives way, and the next calls are seen.
    Where nothing ended although many were at risk, nearly all is never.
    """
    window = slice(max(0, last + 1 - TAIL_BUCKETS), last + 1)
    seen = float(at_risk[window].sum()) + TAIL_BUCKETS
    hazard = (float(ended[window].sum()) + TAIL_BUCKETS * TAIL_PRIOR_HAZARD) / seen
    left = (1 - min(hazard, 1.0)) ** np.arange(BUCKETS - 1 - last)
    return np.append(-np.diff(left), left[-1:])
