"""Whether a stored answer serves a question: small steps, each of which may say no.

A step looks at one candidate and returns why it is refused, or None. The first candidate
that no step refuses is the answer; if there is none, the nearest one's reason is given.
What a layer asks of a candidate is the tuple of its steps: a new check is a new step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from libs.values import Quality
from services.cache.entry import Entry
from services.cache.freshness import Freshness
from services.cache.reasons import Reason

# Two equal vectors may have a product this much below 1, by the rounding of float32.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Terms:
    """What a lookup accepts.

    Attributes:
        now_s: seconds of the wall clock.
        minimum_quality: the least achieved quality.
        floor: the least cosine similarity, in [0, 1].
        context: the context that candidates must be of; empty where the key says it.
    """

    now_s: float
    minimum_quality: Quality = Quality.UNSPECIFIED
    floor: float = 0.0
    context: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored answer that may serve.

    Attributes:
        similarity: cosine of its question with the one asked, in [-1, 1].
        entry: the answer, as it was fetched from the store a moment ago.
    """

    similarity: float
    entry: Entry


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome of a lookup.

    Attributes:
        reason: `OK`, or why it is a miss.
        entry: the answer that serves; None for a miss.
        similarity: of the answer, or of the nearest candidate; None if nothing is near.
        age_s: seconds since the answer was generated.
        refused: the candidates before it, and why they do not serve.
    """

    reason: Reason
    entry: Entry | None = None
    similarity: float | None = None
    age_s: float = 0.0
    refused: tuple[tuple[Candidate, Reason], ...] = ()


Step = Callable[[Terms, Candidate], Reason | None]


def is_near(similarity: float, terms: Terms) -> bool:
    """Return whether a question is near enough to look at its answer at all."""
    return similarity + _ROUNDING >= terms.floor


def of_context(terms: Terms, candidate: Candidate) -> Reason | None:
    """Refuse an answer of another context than the index said."""
    return None if candidate.entry.context == terms.context else Reason.NOT_FOUND


def unexpired(terms: Terms, candidate: Candidate) -> Reason | None:
    """Refuse an answer past its end."""
    return None if terms.now_s < candidate.entry.expires_at_s else Reason.EXPIRED


def good_enough(terms: Terms, candidate: Candidate) -> Reason | None:
    """Refuse an answer of less quality than is asked for."""
    is_good = candidate.entry.quality >= terms.minimum_quality
    return None if is_good else Reason.BELOW_QUALITY


def documents_unchanged(freshness: Freshness) -> Step:
    """Return the step that refuses an answer built from documents that have changed."""

    def step(_: Terms, candidate: Candidate) -> Reason | None:
        entry = candidate.entry
        return freshness.judge(entry.tenant_id, entry.sources, entry.store_id)

    return step


def judge(terms: Terms, candidates: Iterable[Candidate], steps: Sequence[Step]) -> Judgement:
    """Return the first candidate that no step refuses, or why the first one is refused.

    Args:
        terms: what is accepted.
        candidates: nearest first.
        steps: in the order in which they are asked.
    """
    refused: list[tuple[Candidate, Reason]] = []
    for candidate in candidates:
        reason = _refusal(terms, candidate, steps)
        if reason is None:
            entry, similarity = candidate.entry, candidate.similarity
            age_s = entry.age_s(terms.now_s)
            return Judgement(Reason.OK, entry, similarity, age_s, tuple(refused))
        refused.append((candidate, reason))
    if not refused:
        return Judgement(Reason.NOT_FOUND)
    nearest, reason = refused[0]
    return Judgement(reason, similarity=nearest.similarity, refused=tuple(refused))


def _refusal(terms: Terms, candidate: Candidate, steps: Sequence[Step]) -> Reason | None:
    for step in steps:
        reason = step(terms, candidate)
        if reason is not None:
            return reason
    return None
