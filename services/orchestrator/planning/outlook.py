"""What can be expected from one point of a run on, by the time that is left there.

Losses are counted in late answers: 1 is an answer without first text in time, 0.05 a
drawback that is worth one late answer in twenty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from libs.resilience.distribution import Distribution
from services.orchestrator.planning.lefts import (
    LEFTS_S,
    UPPERS_S,
    Floats,
    by_middles,
    by_uppers,
    index,
)

LATE = 1.0
# Differences of loss below this are none: tables are sums of many small numbers.
_NOTHING = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """What is expected, with the best decisions, for each time of `LEFTS_S`.

    Attributes:
        loss: expected loss from here on.
        met: probability that the first text comes in time.
    """

    loss: Floats
    met: Floats

    def loss_at(self, left_s: float) -> float:
        """Return the expected loss with `left_s` seconds left."""
        return _between(self.loss, left_s)

    def met_at(self, left_s: float) -> float:
        """Return the probability of being in time with `left_s` seconds left."""
        return _between(self.met, left_s)

    def costing(self, loss: float) -> Outlook:
        """Return the same with a drawback that counts whatever happens."""
        return Outlook(np.minimum(self.loss + loss, LATE), self.met)

    def needed_s(self, share: float) -> float:
        """Return the least time left at which `share` of the best chance is there, in seconds."""
        return float(LEFTS_S[int(np.argmax(self.met >= share * float(self.met.max())))])

    def reaches_s(self, met: float) -> float:
        """Return the least time left at which the chance is at least `met`, in seconds.

        Where it never is, the longest time there are tables for.
        """
        found = np.flatnonzero(self.met >= met)
        return float(LEFTS_S[found[0] if len(found) else -1])

    def within(self, left_s: float) -> tuple[float, float]:
        """Return loss and probability with `left_s` seconds left."""
        return self.loss_at(left_s), self.met_at(left_s)


def delivered(reserve_s: float = 0.0) -> Outlook:
    """Return the end of every plan: in time if there are `reserve_s` seconds for sending."""
    met = (reserve_s <= LEFTS_S).astype(np.float64)
    return Outlook(LATE * (1 - met), met)


HOPELESS = Outlook(np.full(len(LEFTS_S), LATE), np.zeros(len(LEFTS_S)))
"""Where nothing can be done."""


def after(step: Distribution, then: Outlook) -> Outlook:
    """Return the outlook before a step that has to end before `then` begins."""
    rows = _support(step)
    mass, shift = step.masses[rows], by_middles().within(rows)
    loss = mass @ shift.of(then.loss, LATE) + (1.0 - mass.sum()) * LATE
    return Outlook(loss, mass @ shift.of(then.met, 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A step that is given up when going on without it has become the better choice.

    Attributes:
        outlook: before the step.
        cut_s: how long it may take, by time left.
    """

    outlook: Outlook
    cut_s: Floats

    def limit_s(self, left_s: float) -> float:
        """Return the seconds the step may take with `left_s` left; less is never more."""
        return min(left_s, _between(self.cut_s, left_s))


def cut(
    step: Distribution, then: Outlook, otherwise: Outlook, partial: Distribution | None = None
) -> Cut:
    """Return a step that is cut at the best moment.

    With a cut at c the loss is `sum(p(x) then(left - x), x <= c) + P(x > c) otherwise(left - c)`;
    the c with the least of it is taken, the latest of equals.

    Args:
        step: how long the step takes.
        then: what follows if it ends.
        otherwise: what follows if it is cut, with what that costs.
        partial: how long it takes to what `otherwise` needs of it; None if that is nothing.
            It is taken to be independent of the rest.
    """
    rows = _support(step)
    mass = step.masses[rows, None]
    ended, cut_off = by_middles().within(rows), by_uppers().within(rows)
    beyond = 1.0 - np.cumsum(mass, axis=0)
    ready: Floats | float = 1.0
    if partial is not None:
        ready = np.cumsum(partial.masses)[rows, None]

    def by_cut(values: Floats, fallback: Floats, late: float) -> Floats:
        done = np.cumsum(ended.of(values, late) * mass, axis=0)
        going_on = late + (cut_off.of(fallback, late) - late) * ready
        return np.asarray(done + beyond * going_on, dtype=np.float64)

    losses = by_cut(then.loss, otherwise.loss, LATE)
    best = len(losses) - 1 - np.argmin(np.round(losses[::-1], 9), axis=0)
    # Less time never means a longer limit, not even where nothing is to be won any more.
    best = np.minimum.accumulate(best[::-1])[::-1]
    columns = np.arange(len(LEFTS_S))
    mets = by_cut(then.met, otherwise.met, 0.0)
    outlook = Outlook(losses[best, columns], mets[best, columns])
    return Cut(outlook, UPPERS_S[rows][best])


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The best of some ways to go on, by time left.

    Attributes:
        outlook: with the best way.
        chosen: number of the way, by time left.
    """

    outlook: Outlook
    chosen: NDArray[np.intp]

    def at(self, left_s: float) -> int:
        """Return the number of the way to take with `left_s` seconds left."""
        return int(self.chosen[index(left_s)])


def choose(ways: Sequence[Outlook], before: Choice | None = None, margin: float = 0.0) -> Choice:
    """Choose between ways by their loss.

    More time never means a lesser way: where that of a longer time is a lesser one, so is
    that of every shorter time.

    Args:
        ways: from the best quality to the least.
        before: the choice of the last tables; it stays where it is worse by less than
            `margin`, so that small changes of the latencies do not change plans to and fro.
        margin: in late answers.
    """
    losses = np.stack([way.loss for way in ways])
    least = losses.min(axis=0)
    # Of equals the lesser way: with no time at all, nothing is to be begun that takes some.
    chosen = len(ways) - 1 - np.argmax((losses <= least + _NOTHING)[::-1], axis=0)
    if before is not None:
        rows = np.arange(losses.shape[1])
        stays = losses[np.minimum(before.chosen, len(ways) - 1), rows] <= least + margin
        chosen = np.where(stays, np.minimum(before.chosen, len(ways) - 1), chosen)
    chosen = np.maximum.accumulate(chosen[::-1])[::-1]
    met = np.stack([way.met for way in ways])
    columns = np.arange(losses.shape[1])
    return Choice(Outlook(losses[chosen, columns], met[chosen, columns]), chosen)


def _support(step: Distribution) -> slice:
    """Return the buckets in which a step may end, and the one before: to cut it at once."""
    found = np.flatnonzero(step.masses[:-1] > _NOTHING)
    if not len(found):
        return slice(0, 1)
    return slice(max(0, int(found[0]) - 1), int(found[-1]) + 1)


def _between(values: Floats, left_s: float) -> float:
    low = min(index(left_s), len(LEFTS_S) - 2)
    span_s = float(LEFTS_S[low + 1] - LEFTS_S[low])
    share = min(1.0, max(0.0, (left_s - float(LEFTS_S[low])) / span_s))
    first = float(values[low])
    return first + (float(values[low + 1]) - first) * share
