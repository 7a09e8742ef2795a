"""The decision on reuse: what is certain is decided at once, what is open is verified.

Of each candidate, nearest first: is its question one whose answer can be shared; what is the
probability by the cheap features; if that leaves it open, what does the verifier, who reads
both questions at once, make of it. Whatever fails on the way is no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.cache.judging.calibration import Calibration
from services.cache.judging.eligibility import unshared
from services.cache.judging.facts import facts_of
from services.cache.judging.features import features, is_reformatted, is_turned


class Verdict(StrEnum):
    """What became of a candidate."""

    SAME = "OK"
    NOT_SHARED = "NOT_SHARED"
    FACTS_DIFFER = "FACTS_DIFFER"
    BELOW_TARGET = "BELOW_TARGET"
    NOT_VERIFIED = "NOT_VERIFIED"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What is thought of one candidate, and why.

    Attributes:
        verdict: what it comes to.
        probability: that one answer serves both, in [0, 1]; None if none was made.
        cheap: the probability by features alone, in [0, 1].
        verified: the verifier's, in [0, 1]; None if it was not asked.
    """

    verdict: Verdict
    probability: float | None = None
    cheap: float | None = None
    verified: float | None = None


class Verifier(Protocol):
    """Reads two questions at once and says how likely one answer serves both."""

    async def score(self, pairs: Sequence[tuple[str, str]]) -> Sequence[float] | None:
        """Return a probability for each pair, in [0, 1]; None if it cannot be said in time."""


# Questions that differ in marks and case alone have one answer but for a slip of the rule.
_REFORMATTED = 0.995


def cheap_opinion(
    calibration: Calibration, asked: str, stored: str, cosine: float, target: float
) -> Opinion | None:
    """Return what is certain without the verifier; None where the candidate is open.

    Args:
        calibration: what was fitted.
        asked: the question asked.
        stored: the question that was answered.
        cosine: of their vectors, in [-1, 1].
        target: the least probability of reuse, in [0, 1].
    """
    if unshared(asked) or unshared(stored):
        return Opinion(Verdict.NOT_SHARED)
    if is_reformatted(asked, stored):
        verdict = Verdict.SAME if target <= _REFORMATTED else Verdict.BELOW_TARGET
        return Opinion(verdict, _REFORMATTED, _REFORMATTED)
    row = features(asked, stored, cosine)
    if is_turned(row):
        return Opinion(Verdict.FACTS_DIFFER, 0.0, 0.0)
    cheap = calibration.cheap.probability(row)
    if cheap <= calibration.low and target > 0:
        return Opinion(Verdict.FACTS_DIFFER, cheap, cheap)
    return None


def verified_opinion(
    calibration: Calibration, asked: str, stored: str, cosine: float, target: float, score: float
) -> Opinion:
    """Return the final word on an open candidate, with the verifier's score in [0, 1]."""
    row = features(asked, stored, cosine)
    words = max(len(facts_of(asked).words), len(facts_of(stored).words))
    final = calibration.final(row, score, words)
    verdict = Verdict.SAME if final >= target else Verdict.BELOW_TARGET
    return Opinion(verdict, final, calibration.cheap.probability(row), score)
