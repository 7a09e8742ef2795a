"""The last question about a candidate: does one answer serve both questions?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from services.cache.decision import Candidate, Judgement, Step, Terms, judge
from services.cache.judging.calibration import Calibration
from services.cache.judging.eligibility import unshared
from services.cache.judging.reuse import (
    Opinion,
    Verdict,
    Verifier,
    cheap_opinion,
    verified_opinion,
)
from services.cache.reasons import Reason

# Candidates that are thought about, and of those, pairs that the verifier is asked about,
# one after the other: what is further off is hardly ever the one.
_JUDGED_COUNT = 4
_ASKED_COUNT = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and how strict the decision on it is to be.

    Attributes:
        question: as it was asked.
        fingerprint: of the model that made its vector.
    """

    question: str
    fingerprint: str


class Reuse:
    """Decides by what was fitted, where that knows the model; by the floor alone elsewhere."""

    def __init__(
        self,
        floor: float,
        calibration: Calibration | None = None,
        verifier: Verifier | None = None,
        target: float | None = None,
    ) -> None:
        """Decide with these.

        Args:
            floor: least cosine of a hit where nothing was fitted for the model, in [0, 1].
            calibration: what was fitted; None has the floor decide.
            verifier: who is asked about what is open; without one, that is a miss.
            target: least probability of a hit, in [0, 1]; None takes the fitted one.
        """
        self._floor = floor
        self._calibration = calibration
        self._verifier = verifier
        fitted = 1.0 if calibration is None else calibration.target
        self._target = fitted if target is None else target

    def shares(self, question: str) -> bool:
        """Return whether another's answer may serve a question at all."""
        return unshared(question) is None

    def floor(self, fingerprint: str) -> float:
        """Return the least cosine of a candidate by this model, in [0, 1]."""
        known = self._known(fingerprint)
        return self._floor if known is None else known.floor

    @property
    def target(self) -> float:
        """The least probability of a hit, in [0, 1]; 1 if nothing was fitted."""
        return self._target

    async def settle(
        self, asked: Asked, terms: Terms, candidates: Iterable[Candidate], steps: Sequence[Step]
    ) -> Judgement:
        """Return the first candidate that serves, or why the first one does not.

        Args:
            asked: the question.
            terms: what is accepted.
            candidates: nearest first.
            steps: what is asked of each before; none of them waits.
        """
        calibration = self._known(asked.fingerprint)
        if calibration is None:
            return judge(terms, candidates, (*steps, _shared))
        mind = _Mind(calibration, self._verifier, self._target, asked.question)
        misses: list[Judgement] = []
        for candidate in candidates:
            found = judge(terms, (candidate,), steps)
            if found.entry is not None:
                found = _with(found, candidate, await mind.opinion(candidate))
            if found.entry is not None:
                refused = tuple(each for miss in misses for each in miss.refused)
                return replace(found, refused=refused)
            misses.append(found)
        return _missed(misses)

    async def opinion(self, asked: Asked, candidate: Candidate) -> Opinion | None:
        """Return what is thought of one candidate; None where cosine alone decides."""
        known = self._known(asked.fingerprint)
        if known is None:
            return None
        return await _Mind(known, self._verifier, self._target, asked.question).opinion(candidate)

    def _known(self, fingerprint: str) -> Calibration | None:
        known = self._calibration
        return known if known is not None and known.knows(fingerprint) else None


class _Mind:
    """What is thought of the candidates of one lookup, within its count of looks."""

    def __init__(
        self, calibration: Calibration, verifier: Verifier | None, target: float, question: str
    ) -> None:
        self._calibration = calibration
        self._verifier = verifier
        self._target = target
        self._question = question
        self._judged_left, self._asked_left = _JUDGED_COUNT, _ASKED_COUNT

    async def opinion(self, candidate: Candidate) -> Opinion:
        if self._judged_left == 0:
            return Opinion(Verdict.BELOW_TARGET)
        self._judged_left -= 1
        stored, cosine = candidate.entry.question, candidate.similarity
        known, question, target = self._calibration, self._question, self._target
        certain = cheap_opinion(known, question, stored, cosine, target)
        if certain is not None:
            return certain
        score = await self._score(stored)
        if score is None:
            return Opinion(Verdict.NOT_VERIFIED)
        return verified_opinion(known, question, stored, cosine, target, score)

    async def _score(self, stored: str) -> float | None:
        if self._verifier is None or self._asked_left == 0:
            return None
        self._asked_left -= 1
        scores = await self._verifier.score([(self._question, stored)])
        return scores[0] if scores else None


def _shared(_: Terms, candidate: Candidate) -> Reason | None:
    """Refuse an answer that serves its own question alone."""
    return Reason.NOT_SHARED if unshared(candidate.entry.question) else None


def _with(found: Judgement, candidate: Candidate, opinion: Opinion) -> Judgement:
    """Return the judgement of a usable candidate once its question was thought about."""
    if opinion.verdict is Verdict.SAME:
        return replace(found, probability=opinion.probability)
    reason = Reason(opinion.verdict)
    return Judgement(
        reason,
        similarity=candidate.similarity,
        refused=((candidate, reason),),
        probability=opinion.probability,
    )


def _missed(misses: Sequence[Judgement]) -> Judgement:
    if not misses:
        return Judgement(Reason.NOT_FOUND)
    return replace(misses[0], refused=tuple(each for miss in misses for each in miss.refused))
