"""Logistic regression, by Newton's method: a few hundred weights at most, always the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_ROUNDS = 60
_CLOSE = 1e-9


def fitted(
    rows: Array,
    labels: Array,
    shares: Array,
    *,
    ridge: float = 1.0,
    signs: Array | None = None,
    used: Array | None = None,
) -> tuple[Array, float]:
    """Return the weights and the bias that make the labels likeliest.

    Args:
        rows: features, one row for each example.
        labels: 1 or 0 for each.
        shares: how much each counts.
        ridge: how strongly weights are drawn to 0; the bias is not.
        used: for each feature 1 if it is used, else 0; None uses all.
        signs: for each feature 1 or -1 where its weight may only be so, else 0.
    """
    free = np.ones(rows.shape[1], bool) if used is None else used.astype(bool)
    while True:
        weights, bias = _newton(rows * free, labels, shares, ridge)
        wrong = free & (signs is not None) & (weights * (0 if signs is None else signs) < 0)
        if not wrong.any():
            return weights * free, bias
        free &= ~wrong


def _newton(rows: Array, labels: Array, shares: Array, ridge: float) -> tuple[Array, float]:
    full = np.column_stack((rows, np.ones(len(rows))))
    pull = np.full(full.shape[1], ridge)
    pull[-1] = _CLOSE
    found = np.zeros(full.shape[1])
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(full @ found, -30, 30)))
        slope = full.T @ (shares * (chance - labels)) + pull * found
        bend = (full.T * (shares * chance * (1 - chance))) @ full + np.diag(pull)
        step = np.linalg.solve(bend, slope)
        found -= step
        if np.abs(step).max() < _CLOSE:
            break
    return found[:-1], float(found[-1])
