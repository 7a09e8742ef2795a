"""Fits the cheap stage and the final probability on pairs that the adapter has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cli.calibrate.logistic import fitted
from cli.calibrate.pairs import Pair
from services.cache.judging.calibration import log_odds
from services.cache.judging.facts import facts_of
from services.cache.judging.features import NAMES, features

Array = NDArray[np.float64]

# Features of which more can only make it less likely that one answer serves both.
_AGAINST: Final = frozenset(
    (
        "only_one", "only_both", "numbers", "numbers_one", "negation", "opposed", "class", "names",
        "asking", "owners", "fresh", "times", "order", "length", "joint", "action", "persons", "roles", "denied", "numbered",
    )
)  # fmt: skip
SIGNS: Final = np.array([-1.0 if name in _AGAINST else 1.0 for name in NAMES])
# Words of the longer of two questions, at most.
SHORT_WORDS: Final = 14
# Beside the verifier, only what it is known to miss: how many words two texts share says less
# of real rewordings than of made ones, and whoever fits it on those refuses the real ones.
_BESIDE: Final = frozenset(
    ("cosine", "cosine_high", "numbers", "negation", "opposed", "class", "names", "fresh", "order", "joint", "persons", "roles", "denied", "numbered")
)  # fmt: skip
_USED: Final = np.array([*(float(name in _BESIDE) for name in NAMES), 1.0])
# Share of what is the same that may be lost before the verifier is asked.
_LOST: Final = 0.02
# A natural pair counts as much as so many made ones.
_NATURAL: Final = 2.0
_RIDGE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Fit:
    """What was fitted.

    Attributes:
        cheap: weights and bias of the probability by features alone.
        verified: the same with the verifier's log odds as the last feature.
        told: the same for texts that are told, and longer.
        low: probability at or below which the verifier is not asked.
    """

    cheap: tuple[Array, float]
    verified: tuple[Array, float]
    told: tuple[Array, float]
    low: float

    def data(self) -> dict[str, Any]:
        """Return it as it is shipped."""
        return {
            "features": list(NAMES),
            "low": round(self.low, 5),
            "cheap": _data(self.cheap),
            "verified": _data(self.verified),
            "told": _data(self.told),
        }


def fit(pairs: Sequence[Pair], cosines: Array, scores: Array) -> Fit:
    """Return what fits pairs best.

    Args:
        pairs: labelled.
        cosines: one of each pair, in [-1, 1].
        scores: the verifier's probability for each, in [0, 1].
    """
    rows = np.array([features(each.a, each.b, cosine) for each, cosine in zip(pairs, cosines)])  # noqa: B905
    labels = np.array([float(each.same) for each in pairs])
    shares = np.array([_NATURAL if each.kind.startswith("near") else 1.0 for each in pairs])
    odds = np.array([log_odds(float(score)) for score in scores])
    full = np.column_stack((rows, odds))
    long = np.array([is_told(each) for each in pairs])
    cheap = fitted(rows, labels, shares, ridge=_RIDGE, signs=SIGNS)
    signs = np.append(SIGNS, 1.0)
    verified = fitted(full, labels, shares * ~long, ridge=_RIDGE, signs=signs, used=_USED)
    told = fitted(full, labels, shares * long, ridge=_RIDGE, signs=signs)
    chances = 1 / (1 + np.exp(-(rows @ cheap[0] + cheap[1])))
    return Fit(cheap, verified, told, float(np.quantile(chances[labels == 1], _LOST)))


def is_told(pair: Pair) -> bool:
    """Return whether a pair is of texts longer than questions are."""
    return max(len(facts_of(pair.a).words), len(facts_of(pair.b).words)) > SHORT_WORDS


def _data(found: tuple[Array, float]) -> dict[str, Any]:
    return {"weights": [round(float(each), 5) for each in found[0]], "bias": round(found[1], 5)}
