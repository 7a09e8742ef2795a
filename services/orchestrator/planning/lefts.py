"""The times left that tables are made for, and what a step that takes time does to them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from libs.resilience import grid

Floats = NDArray[np.float64]

_LEAST_S = 0.0005
_MOST_S = 64.0
# As fine as a table has to be: what a plan says of 600 ms holds for 590 to 610 ms.
_GROWTH = 1.035
_LOG_GROWTH = math.log(_GROWTH)
_COUNT = math.ceil(math.log(_MOST_S / _LEAST_S) / _LOG_GROWTH) + 1

LEFTS_S: Floats = np.concatenate([[0.0], _LEAST_S * _GROWTH ** np.arange(_COUNT)])
"""Seconds left, rising; the first is none at all."""

UPPERS_S: Floats = np.array(grid.EDGES)
"""Upper edge of each bucket of latencies but the last, which is never."""


def index(left_s: float) -> int:
    """Return the largest entry of `LEFTS_S` that is at most `left_s`."""
    if left_s < _LEAST_S:
        return 0
    return min(_COUNT, 1 + int(math.log(left_s / _LEAST_S) / _LOG_GROWTH + 1e-9))


@dataclass(frozen=True, slots=True)
class Shift:
    """Where each time left is after each of some times spent: row by spent, column by left.

    Attributes:
        low: index of the entry of `LEFTS_S` below; one past the last where nothing is left.
        share: how far it is to the next entry, in [0, 1].
    """

    low: NDArray[np.intp]
    share: Floats

    @classmethod
    def by(cls, spent_s: Floats) -> Shift:
        """Return the shift by some times, in seconds."""
        rest_s = LEFTS_S[None, :] - spent_s[:, None]
        low = np.clip(np.searchsorted(LEFTS_S, rest_s, side="right") - 1, 0, len(LEFTS_S) - 2)
        share = np.clip((rest_s - LEFTS_S[low]) / (LEFTS_S[low + 1] - LEFTS_S[low]), 0.0, 1.0)
        is_late = rest_s < 0
        return cls(np.where(is_late, len(LEFTS_S), low), np.where(is_late, 0.0, share))

    def within(self, rows: slice) -> Shift:
        """Return the shift by some of the times only."""
        return Shift(self.low[rows], self.share[rows])

    def of(self, values: Floats, late: float) -> Floats:
        """Return what a table says after the time is spent; `late` where none is left."""
        known = np.append(values, [late, late])
        steps = np.append(np.diff(values), [0.0, 0.0, 0.0])
        moved = steps.take(self.low)
        moved *= self.share
        moved += known.take(self.low)
        return moved


@functools.cache
def by_middles() -> Shift:
    """Return the shift by the middle of each bucket of latencies."""
    return Shift.by(grid.REPRESENTATIVES_S)


@functools.cache
def by_uppers() -> Shift:
    """Return the shift by the upper edge of each bucket: where a step can be cut."""
    return Shift.by(UPPERS_S)
