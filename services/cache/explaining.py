"""What a lookup by meaning would make of stored questions, stage by stage; nothing is served."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.cache.decision import Candidate, Step, Terms, is_near, judge
from services.cache.index import Partition
from services.cache.judging.reuse import Opinion, Verdict
from services.cache.reasons import Reason
from services.cache.replica import Replica
from services.cache.reuse import Asked, Reuse
from services.cache.store import EntryStore
from services.cache.vectors import unpacked


@dataclass(frozen=True, slots=True)
class Explained:
    """A stored question, and what is made of it within its own context.

    Attributes:
        candidate: the question, its answer and their similarity to what was asked.
        reason: `OK`, or why it does not serve.
        opinion: whether one answer serves both; None where cosine alone decides.
        age_s: seconds since the answer was generated.
    """

    candidate: Candidate
    reason: Reason
    opinion: Opinion | None
    age_s: float


class Explainer:
    """Explains lookups of one replica."""

    def __init__(
        self,
        store: EntryStore,
        replica: Replica,
        reuse: Reuse,
        steps: Sequence[Step],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Explain by these.

        Args:
            store: the answers; its client is patient.
            replica: what can be found by meaning.
            reuse: the last question about a candidate.
            steps: what is asked of each before.
            clock: seconds of the wall clock, that answers age by.
        """
        self.reuse = reuse
        self._store = store
        self._replica = replica
        self._steps = steps
        self._clock = clock

    async def explain(
        self, tenant_id: str, asked: Asked, embedding: bytes, limit: int
    ) -> list[Explained]:
        """Return what is made of the nearest stored questions, nearest first.

        Raises:
            DependencyUnavailableError: the store does not answer.
            DimensionMismatchError: the vector has not its model's length.
        """
        vector = unpacked(embedding)
        self._replica.lengths.check(tenant_id, asked.fingerprint, len(vector))
        wanted = Partition(tenant_id, "", asked.fingerprint)
        near = await self._replica.index.search_all(wanted, vector, limit)
        entries = await self._store.many(tenant_id, [each.key for each in near])
        return [
            await self._explained(asked, Candidate(neighbour.similarity, entry))
            for neighbour, entry in zip(near, entries, strict=True)
            if entry is not None and not isinstance(entry, Exception)
        ]

    async def _explained(self, asked: Asked, candidate: Candidate) -> Explained:
        entry = candidate.entry
        floor = self.reuse.floor(asked.fingerprint)
        terms = Terms(self._clock(), floor=floor, context=entry.context)
        opinion = await self.reuse.opinion(asked, candidate)
        reason = judge(terms, (candidate,), self._steps).reason
        if not is_near(candidate.similarity, terms):
            reason = Reason.BELOW_FLOOR
        elif not self.reuse.shares(asked.question):
            reason = Reason.NOT_SHARED
        elif reason is Reason.OK and opinion is not None and opinion.verdict is not Verdict.SAME:
            reason = Reason(opinion.verdict)
        return Explained(candidate, reason, opinion, entry.age_s(terms.now_s))
