"""A conditional logit: the weights that make the right passage of each question likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cli.reranking.gathering import Case
from services.retrieval.reranking.features import NAMES

Array = NDArray[np.float64]

# Of the squared weights of scaled features; set with the figures in view, as the card says.
RIDGE = 50.0
_STEPS = 30
_SMALLEST_GAIN = 1e-6
_SMALLEST_STEP = 1e-4
# What can only make a passage less likely; of all others, more can only make it likelier.
AGAINST = frozenset(("missing", "rank_meaning"))
SIGNS = np.array([-1.0 if name in AGAINST else 1.0 for name in NAMES])


@dataclass(frozen=True, slots=True)
class Fold:
    """The questions of one article, put in order by what was fitted on the others.

    Attributes:
        article: the article left out.
        question_count: its questions.
        fused: of these, how many had the right passage first before.
        reranked: how many had it first afterwards.
        reciprocal_ranks: sum of 1 / rank afterwards.
    """

    article: str
    question_count: int
    fused: int
    reranked: int
    reciprocal_ranks: float


def fitted(cases: Sequence[Case], ridge: float = RIDGE) -> Array:
    """Return a weight for each feature, as it is: unscaled."""
    rows = np.concatenate([case.rows for case in cases])
    scale = rows.std(axis=0)
    scale[scale == 0] = 1.0
    useful = [case for case in cases if case.right is not None]
    blocks = [(case.rows - case.rows[case.right]) / scale for case in useful]
    used = np.ones(len(scale), bool)
    while True:
        weights = np.zeros(len(scale))
        weights[used] = _newton([block[:, used] for block in blocks], ridge)
        wrong = weights * SIGNS < 0
        if not wrong.any():
            found: Array = weights / scale
            return found
        # A feature that would count against its own meaning leans on chance: it is left out.
        used &= ~wrong


def leave_one_out(cases: Sequence[Case], ridge: float = RIDGE) -> list[Fold]:
    """Return each article's figures by weights that were fitted on all the others."""
    articles = list(dict.fromkeys(case.article for case in cases))
    return [_fold(cases, article, ridge) for article in articles]


def _fold(cases: Sequence[Case], article: str, ridge: float) -> Fold:
    weights = fitted([case for case in cases if case.article != article], ridge)
    mine = [case for case in cases if case.article == article]
    ranks = [_rank(case, weights) for case in mine]
    return Fold(
        article,
        len(mine),
        sum(case.right == 0 for case in mine),
        ranks.count(1),
        sum(1 / rank for rank in ranks if rank),
    )


def _rank(case: Case, weights: Array) -> int:
    """Return the rank of the right passage, from 1; 0 if it is not there."""
    if case.right is None:
        return 0
    order = np.argsort(-(case.rows @ weights), kind="stable")
    return int(np.flatnonzero(order == case.right)[0]) + 1


def _newton(blocks: Sequence[Array], ridge: float) -> Array:
    """Return the weights of the largest likelihood less the ridge, by damped Newton steps.

    Args:
        blocks: of each question, how its candidates differ from the right one.
        ridge: of half the squared weights.
    """
    weights = np.zeros(blocks[0].shape[1])
    rows = np.concatenate(blocks)
    firsts = np.cumsum([0, *(len(block) for block in blocks[:-1])])
    worth = _worth(rows, firsts, weights, ridge)
    for _ in range(_STEPS):
        step = _step(rows, firsts, weights, ridge)
        share = 1.0
        while share > _SMALLEST_STEP:
            better = _worth(rows, firsts, weights + share * step, ridge)
            if better >= worth:
                break
            share /= 2
        weights, gain, worth = weights + share * step, better - worth, better
        if gain < _SMALLEST_GAIN:
            break
    return weights


def _worth(rows: Array, firsts: NDArray[np.int64], weights: Array, ridge: float) -> float:
    # The right one's own score is 0: its likelihood is one over the sum of all.
    sums = np.logaddexp.reduceat(rows @ weights, firsts)
    return float(-sums.sum() - ridge / 2 * weights @ weights)


def _step(rows: Array, firsts: NDArray[np.int64], weights: Array, ridge: float) -> Array:
    scores = rows @ weights
    sizes = np.diff([*firsts, len(rows)])
    shares = np.exp(scores - np.repeat(np.logaddexp.reduceat(scores, firsts), sizes))
    weighted = rows * shares[:, None]
    means = np.add.reduceat(weighted, firsts)
    slope = -means.sum(axis=0) - ridge * weights
    bend = weighted.T @ rows - means.T @ means + ridge * np.eye(len(weights))
    found: Array = np.linalg.solve(bend, slope)
    return found
