"""A first text that one backend owes, another may give, and the passages can stand in for.

A second call is not made when the first one is slow for its kind, but when the second can
just still make it: as late as is useful, so that it is seldom needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from libs.resilience.distribution import Distribution
from services.orchestrator.planning.lefts import LEFTS_S, UPPERS_S, Floats, index
from services.orchestrator.planning.outlook import LATE, Outlook

# How sure the second call has to be of the rest of the time: the candidates among which
# each time left takes the best.
_SURENESS = (
    *(0.5, 0.6, 0.7, 0.75, 0.8, 0.825, 0.85, 0.875, 0.9, 0.9125, 0.925, 0.94),
    *(0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995),
)
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
        kept_s: what the second call needs: it is made so many seconds before the model is
            given up; -inf is never.
        reserve_s: how long before the end the model is given up; 0 is never.
    """

    outlook: Outlook
    kept_s: Floats
    reserve_s: float

    def hedge_after_s(self, left_s: float) -> float:
        """Return when to make the second call with `left_s` seconds left; inf is never."""
        after_s = left_s - self.reserve_s - float(self.kept_s[index(left_s)])
        return max(0.0, after_s)


def race(
    first_text: Distribution, backup: Backup | None = None, stand_in: StandIn | None = None
) -> Race:
    """Return how to get a first text from a backend that takes `first_text` for it."""
    reserve_s = stand_in.reserve_s if stand_in else 0.0
    by_s = LEFTS_S - reserve_s
    lost = stand_in.outlook.within(reserve_s) if stand_in else (LATE, 0.0)
    late, loss, kept_s = _best(_paths(first_text, backup, by_s), lost[0])
    met = (1 - late) + late * lost[1]
    if stand_in:
        # Of a time that is all reserved, nothing is left for the model.
        loss = np.where(by_s <= 0, stand_in.outlook.loss, loss)
        met = np.where(by_s <= 0, stand_in.outlook.met, met)
    return Race(Outlook(loss, met), kept_s, reserve_s)


def survival(latency: Distribution, at_s: Floats) -> Floats:
    """Return the probability of taking longer than each of some times; 1 where none is left."""
    below = np.cumsum(latency.masses[:-1])
    longer = 1.0 - np.interp(at_s, UPPERS_S, below)
    return np.where(at_s > 0, longer, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Paths:
    """Ways to race, row by row: no text in time, losses aside from that, and what is kept."""

    late: Floats
    loss: Floats
    kept_s: Floats


def _paths(first: Distribution, backup: Backup | None, by_s: Floats) -> _Paths:
    """Return the first call alone, and with a second one at each moment that is tried."""
    alone = _Paths(survival(first, by_s)[None], np.zeros((1, len(by_s))), np.array([-np.inf]))
    if backup is None:
        return alone
    hedged = _hedged(first, backup, by_s)
    return _Paths(
        np.concatenate([alone.late, hedged.late]),
        np.concatenate([alone.loss, hedged.loss]),
        np.concatenate([alone.kept_s, hedged.kept_s]),
    )


def _hedged(first: Distribution, backup: Backup, by_s: Floats) -> _Paths:
    """Return what comes of a second call, where the moment for it is a moment at all."""
    tried_s = np.array([backup.first_text.quantile(each) for each in _SURENESS])
    kept_s = tried_s[np.isfinite(tried_s)]
    moment_s = by_s[None] - kept_s[:, None]
    late = survival(first, by_s) * survival(backup.first_text, kept_s)[:, None]
    wins = np.zeros_like(moment_s)
    for number in range(_SLICES):
        takes_s = backup.first_text.quantile((number + 0.5) / _SLICES)
        if takes_s < np.inf:
            is_soon = (takes_s <= kept_s)[:, None]
            wins += is_soon * survival(first, moment_s + takes_s) / _SLICES
    loss = backup.win_loss * wins + backup.call_loss * survival(first, moment_s)
    return _Paths(late, np.where(moment_s > 0, loss, np.inf), kept_s)


def _best(paths: _Paths, lost: float) -> tuple[Floats, Floats, Floats]:
    """Return lateness, loss and what is kept of the path with the least loss, by time left."""
    losses = paths.late * lost + paths.loss
    best, columns = losses.argmin(axis=0), np.arange(losses.shape[1])
    return paths.late[best, columns], losses[best, columns], paths.kept_s[best]
