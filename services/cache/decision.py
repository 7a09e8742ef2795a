"""Whether a stored answer serves a question: small steps, each of which may say no.

A step looks at one candidate and returns why it is refused, or None. The first candidate
that no step refuses is the answer; if there is none, the nearest one's reason is given.
What a layer asks of a candidate is the tuple of its steps: a new check is a new step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from libs.values import Quality
from libs.values.cache import Provenance
from services.cache.entry import Entry
from services.cache.freshness import Freshness
from services.cache.personal import is_personal
from services.cache.provenance import judge_entry
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
        accept_stale: whether an answer past its soft end serves.
        shares_personal: whether a question that holds personal data is shared by meaning.
        let_out: names of those that have left quarantine before its end.
        provenance: what of the documents must be as it was; what an answer was stored
            with may want more.
    """

    now_s: float
    minimum_quality: Quality = Quality.UNSPECIFIED
    floor: float = 0.0
    context: str = ""
    accept_stale: bool = True
    shares_personal: bool = False
    let_out: frozenset[str] = frozenset()
    provenance: Provenance = Provenance.UNSPECIFIED


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
        stale: True if the answer is past its soft end.
        refresh: True if who asked is to make it anew.
        probability: that one answer serves both questions, in [0, 1]; None if none was made.
    """

    reason: Reason
    entry: Entry | None = None
    similarity: float | None = None
    age_s: float = 0.0
    refused: tuple[tuple[Candidate, Reason], ...] = ()
    stale: bool = False
    refresh: bool = False
    probability: float | None = None


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


def fresh_enough(terms: Terms, candidate: Candidate) -> Reason | None:
    """Refuse an answer past its soft end where that is not accepted."""
    is_fresh = terms.accept_stale or terms.now_s < candidate.entry.stale_at_s
    return None if is_fresh else Reason.STALE


def good_enough(terms: Terms, candidate: Candidate) -> Reason | None:
    """Refuse an answer of less quality than is asked for."""
    entry = candidate.entry
    # Who asks for more where there is nothing to answer from gets a refusal as well.
    is_good = bool(entry.refusal) or entry.quality >= terms.minimum_quality
    return None if is_good else Reason.BELOW_QUALITY


def impersonal(terms: Terms, candidate: Candidate) -> Reason | None:
    """Refuse an answer whose question holds personal data, if those are not shared."""
    is_open = terms.shares_personal or not is_personal(candidate.entry.question)
    return None if is_open else Reason.PERSONAL


def out_of_quarantine(terms: Terms, candidate: Candidate) -> Reason | None:
    """Refuse an answer that has not yet proved itself on its own question."""
    entry = candidate.entry
    is_out = terms.now_s >= entry.shared_from_s or entry.entry_id in terms.let_out
    return None if is_out else Reason.QUARANTINED


def documents_unchanged(freshness: Freshness) -> Step:
    """Return the step that refuses an answer built from documents that have changed."""

    def step(terms: Terms, candidate: Candidate) -> Reason | None:
        return judge_entry(freshness, candidate.entry, terms.provenance)

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
            age_s, stale = entry.age_s(terms.now_s), entry.stale_at_s <= terms.now_s
            return Judgement(Reason.OK, entry, similarity, age_s, tuple(refused), stale)
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
