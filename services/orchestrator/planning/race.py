"""A first text that one backend owes, another may give, and the passages can stand in for.

A second call is not made when the first one is slow for its kind, but when the second can
just still make it: as late as is useful, so that it is seldom needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from libs.resilience import Distribution
from services.orchestrator.planning.lefts import LEFTS_S, UPPERS_S, Floats, index
from services.orchestrator.planning.outlook import LATE, Outlook

# How sure the second call has to be of the rest of the time: the candidates among which
# each time left takes the best.
_SURENESS = (0.5, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995)
# Stands for the second call's latency: equal slices of its probability.
_SLICES = 16


@dataclass(frozen=True, slots=True)
class Backup:
    """A second call that may be made.

    Attributes:
        first_text: how long it takes to its first text.
        win_loss: loss if its text is the one that is shown.
        call_loss: loss of making it, whoever wins.
    """

    first_text: Distribution
    win_loss: float
    call_loss: float


@dataclass(frozen=True, slots=True)
class StandIn:
    """What can be shown without any model.

    Attributes:
        outlook: of doing that.
        reserve_s: seconds that it needs, on a bad moment too.
    """

    outlook: Outlook
    reserve_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Race:
    """How to get a first text.

    Attributes:
        outlook: before the first call.
        hedge_s: when to make the second call, in seconds from the first; inf is never.
        reserve_s: how long before the end the model is given up; 0 is never.
    """

    outlook: Outlook
    hedge_s: Floats
    reserve_s: float

    def hedge_after_s(self, left_s: float) -> float:
        """Return when to make the second call with `left_s` seconds left; inf is never."""
        return float(self.hedge_s[index(left_s)])


def race(
    first_text: Distribution, backup: Backup | None = None, stand_in: StandIn | None = None
) -> Race:
    """Return how to get a first text from a backend that takes `first_text` for it."""
    reserve_s = stand_in.reserve_s if stand_in else 0.0
    by_s = LEFTS_S - reserve_s
    lost = stand_in.outlook.within(reserve_s) if stand_in else (LATE, 0.0)
    alone = _Path(survival(first_text, by_s), np.zeros_like(by_s), np.zeros_like(by_s))
    paths, moments = [alone], [np.full_like(by_s, np.inf)]
    for sureness in _SURENESS if backup else ():
        moment_s = by_s - backup.first_text.quantile(sureness)
        paths.append(_hedged(first_text, backup, by_s, moment_s))
        moments.append(moment_s)
    losses = np.stack([path.late * lost[0] + path.loss for path in paths])
    best = losses.argmin(axis=0)
    rows = np.arange(len(by_s))
    late = np.stack([path.late for path in paths])[best, rows]
    # Of a time that is all reserved, nothing is left for the model.
    late = np.where(by_s <= 0, 1.0, late)
    loss = np.where(by_s <= 0, lost[0], losses[best, rows])
    met = (1 - late) + late * lost[1]
    if stand_in:
        loss = np.where(by_s <= 0, stand_in.outlook.loss, loss)
        met = np.where(by_s <= 0, stand_in.outlook.met, met)
    return Race(Outlook(loss, met), np.stack(moments)[best, rows], reserve_s)


def survival(latency: Distribution, at_s: Floats) -> Floats:
    """Return the probability of taking longer than each of some times."""
    below = np.cumsum(latency.masses[:-1])
    return np.asarray(1.0 - np.interp(np.maximum(at_s, 0.0), UPPERS_S, below), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Path:
    """One way to race: probability of no text in time, and losses aside from that."""

    late: Floats
    wins: Floats
    loss: Floats


def _hedged(first: Distribution, backup: Backup, by_s: Floats, moment_s: Floats) -> _Path:
    """Return what comes of a second call at `moment_s`, where that is a moment at all."""
    fired = survival(first, moment_s)
    rest_s = by_s - moment_s
    late = survival(first, by_s) * survival(backup.first_text, rest_s)
    wins = np.zeros_like(by_s)
    for number in range(_SLICES):
        takes_s = backup.first_text.quantile((number + 0.5) / _SLICES)
        wins += (takes_s <= rest_s) * survival(first, moment_s + takes_s) / _SLICES
    loss = backup.win_loss * wins + backup.call_loss * fired
    return _Path(late, wins, np.where(moment_s > 0, loss, np.inf))
