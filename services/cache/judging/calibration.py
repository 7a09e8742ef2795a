"""What was fitted, as the package ships it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from services.cache.judging.features import NAMES

_FILE = "data/reuse.json"
# Beyond it, a probability is 0 or 1 to any purpose.
_MOST_LOGIT = 12.0


class CalibrationError(ValueError):
    """The data that ships with the package is not what this code was fitted with."""


@dataclass(frozen=True, slots=True)
class Logistic:
    """A logistic regression: the log odds are a weighted sum.

    Attributes:
        weights: one of each feature.
        bias: the log odds where all features are 0.
    """

    weights: NDArray[np.float64]
    bias: float

    def log_odds(self, row: NDArray[np.float64]) -> float:
        """Return the log odds of a row."""
        return float(row @ self.weights) + self.bias

    def probability(self, row: NDArray[np.float64]) -> float:
        """Return the probability of a row, in (0, 1)."""
        return probability(self.log_odds(row))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything that was fitted.

    Attributes:
        fingerprints: the embedding models whose cosines it knows.
        scorers: fingerprints of the verifiers whose scores it knows; empty for any of the
            name that ships.
        floor: least cosine of a candidate that is looked at, in [0, 1].
        target: least probability of reuse, in [0, 1], where a policy names none.
        short_words: words of the longer text up to which a pair counts as two questions;
            longer ones are told, and mostly not asked.
        caution: log odds taken off for longer ones.
        low: probability by the cheap stage at or below which the verifier is not asked.
        cheap: the probability by features alone.
        verified: the probability by features and the verifier's log odds, which come last.
        told: the same for longer texts.
    """

    fingerprints: frozenset[str]
    scorers: frozenset[str]
    floor: float
    target: float
    short_words: int
    caution: float
    low: float
    cheap: Logistic
    verified: Logistic
    told: Logistic

    @classmethod
    def shipped(cls) -> Self:
        """Return what the package holds.

        Raises:
            CalibrationError: it is damaged, or belongs to other code.
        """
        text = files(__package__).joinpath(_FILE).read_text("utf-8")
        try:
            return cls.of(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise CalibrationError(f"{_FILE} cannot be used: {error!r}") from error

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Read the data of a file.

        Raises:
            CalibrationError: it was fitted on other features.
            KeyError: something is missing.
        """
        if tuple(data["features"]) != NAMES:
            raise CalibrationError(f"fitted on the features {data['features']}")
        found = cls(
            frozenset(data["fingerprints"]),
            frozenset(data["scorers"]),
            float(data["floor"]),
            float(data["target"]),
            int(data["short_words"]),
            float(data["caution"]),
            float(data["low"]),
            _logistic(data["cheap"], len(NAMES)),
            _logistic(data["verified"], len(NAMES) + 1),
            _logistic(data["told"], len(NAMES) + 1),
        )
        for name in ("floor", "target", "low"):
            if not 0 <= getattr(found, name) <= 1:
                raise CalibrationError(f"{name} is not in [0, 1]")
        return found

    def final(self, row: NDArray[np.float64], score: float, words: int) -> float:
        """Return the probability that one answer serves two questions, in (0, 1).

        Args:
            row: their features.
            score: what the verifier says, in [0, 1].
            words: of the longer one.
        """
        full = np.append(row, log_odds(score))
        if words > self.short_words:
            return probability(self.told.log_odds(full) - self.caution)
        return self.verified.probability(full)

    def knows(self, fingerprint: str) -> bool:
        """Return whether cosines of this model mean what they meant in the fit."""
        return fingerprint in self.fingerprints


def probability(log_odds: float) -> float:
    """Return the probability of log odds."""
    return 1 / (1 + math.exp(-max(-_MOST_LOGIT, min(_MOST_LOGIT, log_odds))))


def log_odds(chance: float) -> float:
    """Return the log odds of a probability, bounded."""
    bounded = min(max(chance, 1e-6), 1 - 1e-6)
    return math.log(bounded / (1 - bounded))


def _logistic(data: Mapping[str, Any], size: int) -> Logistic:
    weights = np.array(data["weights"], np.float64)
    if weights.shape != (size,) or not np.isfinite(weights).all():
        raise CalibrationError(f"weights are not {size} numbers")
    return Logistic(weights, float(data["bias"]))
