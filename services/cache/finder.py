"""Looks answers up, layer by layer; whatever fails or takes too long is a miss."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from libs.budget import current_budget
from libs.errors import DependencyUnavailableError, InvalidFieldError
from libs.values import CacheLayer
from libs.values.cache import AskedQuestion, Lookup
from libs.values.keys import question_key
from services.cache import decision, measures
from services.cache.decision import Candidate, Judgement, Step, Terms, judge
from services.cache.entry import DamagedRecordError, Entry
from services.cache.freshness import Freshness
from services.cache.hits import Hits
from services.cache.index import Neighbour, Partition
from services.cache.personal import is_personal
from services.cache.provenance import judge_entry
from services.cache.quarantine import Quarantine
from services.cache.reasons import Reason
from services.cache.refreshes import Refreshes
from services.cache.replica import Replica
from services.cache.reuse import Asked, Reuse
from services.cache.store import EntryStore
from services.cache.trust.warden import Warden
from services.cache.vectors import Vector, unpacked

# The share of the caller's time that is kept back, so that a miss still reaches it.
_REPLY_SHARE = 0.1
# Neighbours looked at; more, only if all of these are near but cannot be used.
_WIDTHS = (8, 64)
# A nearest question that was thought about and refused: those further off are no better.
_JUDGED = frozenset(
    (Reason.NOT_SHARED, Reason.FACTS_DIFFER, Reason.BELOW_TARGET, Reason.NOT_VERIFIED)
)
_LOG = logging.getLogger(__name__)


class Finder:
    """Finds the stored answer that serves a question, or says why there is none.

    Attributes:
        semantic_steps: what is asked of an answer that is found by meaning.
    """

    def __init__(  # noqa: PLR0913 - each is a part of its own
        self,
        store: EntryStore,
        replica: Replica,
        freshness: Freshness,
        *,
        floor: float,
        refreshes: Refreshes | None = None,
        quarantine: Quarantine | None = None,
        hits: Hits | None = None,
        warden: Warden | None = None,
        reuse: Reuse | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Look in these places.

        Args:
            store: the answers; its client gives up quickly.
            replica: what can be found by meaning.
            freshness: the documents' versions.
            floor: the least cosine similarity of a semantic hit, in [0, 1].
            refreshes: who makes stale answers anew; None has nobody do it.
            quarantine: of new answers; None leaves it to the time.
            hits: where hits are counted.
            warden: holds hits back whose like were wrong too often; None trusts all.
            reuse: what decides whether one answer serves two questions; by default the
                floor alone.
            clock: seconds of the wall clock, that answers age by.
        """
        self._store = store
        self._replica = replica
        self._freshness = freshness
        self._refreshes = refreshes
        self._quarantine = quarantine
        self._hits = hits or Hits()
        self._warden = warden
        self._reuse = reuse or Reuse(floor)
        self._clock = clock
        usable: tuple[Step, ...] = (
            decision.unexpired,
            decision.fresh_enough,
            decision.good_enough,
        )
        fresh = decision.documents_unchanged(freshness)
        self._exact_steps = (*usable, fresh)
        # The prompt holds the passages as they were read for this very question. An answer
        # to the same passages is as fresh as they are, whatever else has changed since.
        self._prompt_steps = usable
        shared = (decision.out_of_quarantine, decision.impersonal)
        self.semantic_steps = (decision.of_context, *usable, fresh, *shared)
        self._layers: dict[CacheLayer, Callable[[Lookup], Awaitable[Judgement]]] = {
            CacheLayer.EXACT: self._exact,
            CacheLayer.PROMPT: self._prompt,
            CacheLayer.SEMANTIC: self._semantic,
        }
        self._outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)

    async def find(self, lookup: Lookup) -> Judgement:
        """Return the answer, or a miss with its reason.

        Raises:
            InvalidFieldError: the question or the vector is not one.
            DimensionMismatchError: it has not its model's length.
        """
        found = await self._within_budget(lookup)
        layer = lookup.layer.name.lower()
        outcome = found.reason if found.entry is None else f"{layer}_hit"
        self._outcomes[lookup.tenant_id][outcome] += 1
        measures.note(layer, found)
        if found.entry is not None:
            self._hits.add(lookup.tenant_id, found.entry.key)
        if found.entry is not None and (found.stale or self._quarantine is not None):
            return await self._followed_up(lookup, found, found.entry)
        return found

    async def _followed_up(self, lookup: Lookup, found: Judgement, entry: Entry) -> Judgement:
        """Do what a hit leads to, which is seldom anything; what fails here leaves it a hit."""
        with suppress(DependencyUnavailableError):
            if self._quarantine is not None and lookup.layer is CacheLayer.EXACT:
                await self._quarantine.look(entry, self._clock())
            if found.stale and lookup.refreshes and self._refreshes is not None:
                return replace(found, refresh=await self._refreshes.claim(entry))
        return found

    def outcomes(self, tenant_id: str) -> Mapping[str, int]:
        """Return how many lookups of a tenant ended how."""
        return dict(self._outcomes.get(tenant_id, {}))

    async def _within_budget(self, lookup: Lookup) -> Judgement:
        budget = current_budget()
        left_s = None if budget is None else budget.remaining_s() * (1 - _REPLY_SHARE)
        try:
            async with asyncio.timeout(left_s):
                return await self._layers[lookup.layer](lookup)
        except TimeoutError:
            return Judgement(Reason.TIMED_OUT)
        except DependencyUnavailableError:
            return Judgement(Reason.STORE_UNAVAILABLE)
        except DamagedRecordError:
            return Judgement(Reason.DAMAGED)

    async def _exact(self, lookup: Lookup) -> Judgement:
        key = question_key(lookup.tenant_id, _asked(lookup))
        entry = await self._store.get(lookup.tenant_id, key.exact)
        return judge(self._terms(lookup), _only(entry), self._exact_steps)

    async def _prompt(self, lookup: Lookup) -> Judgement:
        prompt = lookup.prompt_sha256.hex()
        entry = await self._store.by_prompt(lookup.tenant_id, prompt)
        return judge(self._terms(lookup), _only(entry), self._prompt_steps)

    async def _semantic(self, lookup: Lookup) -> Judgement:
        vector = unpacked(lookup.embedding)
        tenant_id, fingerprint = lookup.tenant_id, lookup.embedding_fingerprint
        self._replica.lengths.check(tenant_id, fingerprint, len(vector))
        if not lookup.shares_personal and is_personal(_asked(lookup).question):
            return Judgement(Reason.PERSONAL)
        if not self._reuse.shares(_asked(lookup).question):
            return Judgement(Reason.NOT_SHARED)
        context = question_key(tenant_id, _asked(lookup)).context
        partition = Partition(tenant_id, context, fingerprint)
        terms = self._terms(lookup, context)
        asked = Asked(_asked(lookup).question, fingerprint)
        for width in _WIDTHS:
            near, found = await self._nearest(partition, vector, width, terms, asked)
            if found.entry is not None or len(near) < width or found.reason in _JUDGED:
                break
        return found if self._warden is None else self._warden.settle(lookup, vector, found)

    async def _nearest(
        self, partition: Partition, vector: Vector, width: int, terms: Terms, asked: Asked
    ) -> tuple[list[Neighbour], Judgement]:
        """Return the neighbours that are near, and what the decision on them is."""
        neighbours = await self._searched(partition, vector, width)
        near = [each for each in neighbours if decision.is_near(each.similarity, terms)]
        if not near:
            nearest = neighbours[0].similarity if neighbours else None
            reason = Reason.BELOW_FLOOR if neighbours else Reason.NOT_FOUND
            return near, Judgement(reason, similarity=nearest)
        candidates = await self._fetched(partition.tenant_id, near)
        if self._quarantine is not None:
            entries = [each.entry for each in candidates]
            terms = replace(terms, let_out=await self._quarantine.let_out(entries, terms.now_s))
        found = await self._reuse.settle(asked, terms, candidates, self.semantic_steps)
        for candidate, reason in found.refused:
            if reason is Reason.DOCUMENT_CHANGED:
                self._pass_by(candidate.entry)
        return near, found

    def _pass_by(self, entry: Entry) -> None:
        """Let the next search reach past an answer that will never serve again.

        One that only this lookup's policy refuses may still serve others.
        """
        if judge_entry(self._freshness, entry) is Reason.DOCUMENT_CHANGED:
            self._replica.index.remove(entry.key, entry.entry_id)

    async def _searched(self, partition: Partition, vector: Vector, width: int) -> list[Neighbour]:
        try:
            return await self._replica.index.search(partition, vector, width)
        except RuntimeError as error:
            # What FAISS raises, from an index that is damaged or out of memory.
            _LOG.exception("the index of meanings failed")
            raise DependencyUnavailableError("the index of meanings failed") from error

    async def _fetched(self, tenant_id: str, near: list[Neighbour]) -> list[Candidate]:
        """Return the answers as the store has them now; forget those it has not.

        Raises:
            DamagedRecordError: there is none, and one of them could not be read.
        """
        entries = await self._store.many(tenant_id, [each.key for each in near])
        candidates: list[Candidate] = []
        damage: DamagedRecordError | None = None
        for neighbour, entry in zip(near, entries, strict=True):
            if isinstance(entry, Entry):
                candidates.append(Candidate(neighbour.similarity, entry))
                continue
            self._replica.index.remove(neighbour.key, neighbour.entry_id)
            damage = entry or damage
        if damage is not None and not candidates:
            raise damage
        return candidates

    def _terms(self, lookup: Lookup, context: str = "") -> Terms:
        floor = max(self._reuse.floor(lookup.embedding_fingerprint), lookup.min_similarity or 0.0)
        return Terms(
            self._clock(),
            lookup.minimum_quality,
            floor,
            context,
            lookup.accept_stale,
            lookup.shares_personal,
            provenance=lookup.provenance,
        )


def _only(entry: Entry | None) -> list[Candidate]:
    return [] if entry is None else [Candidate(1.0, entry)]


def _asked(lookup: Lookup) -> AskedQuestion:
    if lookup.asked is None:
        raise InvalidFieldError("asked", f"is required for the layer {lookup.layer.name}")
    return lookup.asked
