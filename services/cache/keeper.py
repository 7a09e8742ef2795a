"""Keeps answers, and lets go of them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from libs.budget import current_budget
from libs.values import CacheLayer, FinishReason, Verdict
from libs.values.cache import (
    AskedOf,
    BuiltFrom,
    Everything,
    OlderThan,
    Provenance,
    Selector,
    WithTag,
    WrittenBy,
)
from libs.values.keys import normalised, question_key
from services.cache.entry import DamagedRecordError, Draft, Entry
from services.cache.freshness import Freshness
from services.cache.lifetimes import Lifetimes
from services.cache.personal import is_personal
from services.cache.provenance import judge_entry
from services.cache.quarantine import Quarantine
from services.cache.reasons import Reason
from services.cache.replica import Replica
from services.cache.store import EntryStore
from services.cache.trust.desk import Desk

# How long a store may wait for the watch to hear of the documents it names.
_CATCH_UP_S = 0.2
# Kept back of the caller's time for the store itself.
_STORE_RESERVE_S = 0.05
# One that is in the way and of no use is taken away, once, and by another writer once more.
_TRIES = 3


class Keeper:
    """Writes to the store; each write is applied to this replica's index at once."""

    def __init__(
        self,
        store: EntryStore,
        patient_store: EntryStore,
        replica: Replica,
        freshness: Freshness,
        lifetimes: Lifetimes,
        *,
        quarantine: Quarantine | None = None,
        desk: Desk | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Write to these places.

        Args:
            store: the answers; gives up quickly.
            patient_store: the same, with time for long reads and for removals.
            replica: what can be found by meaning.
            freshness: the documents' versions.
            lifetimes: of answers.
            quarantine: of new ones; None if there is none.
            desk: told of verdicts and of what is written anew, for the trust in hits.
            clock: seconds of the wall clock.
        """
        self._store = store
        self._patient_store = patient_store
        self._replica = replica
        self._freshness = freshness
        self._lifetimes = lifetimes
        self._quarantine = quarantine
        self._desk = desk
        self._clock = clock

    async def keep(self, draft: Draft) -> Reason:
        """Store an answer; return `OK`, or why it is not stored.

        Raises:
            DependencyUnavailableError: the store does not answer.
            DimensionMismatchError: the vector has not its model's length.
        """
        if not _is_worth_keeping(draft):
            return Reason.INCOMPLETE
        draft = _as_far_as_it_may_be_found(draft)
        if draft.vector:
            length = len(draft.vector) // 4
            self._replica.lengths.check(draft.tenant_id, draft.embedding_fingerprint, length)
        return await self._put_fresh(self._entry(draft))

    async def restore(self, entry: Entry) -> Reason:
        """Store an answer that was exported; return `OK`, or why it is not stored.

        It is as old as it was, and ends when it did; where this cache gives answers less
        time, it ends by that.

        Raises:
            DependencyUnavailableError: the store does not answer.
            DimensionMismatchError: the vector has not its model's length.
        """
        entry = self._as_old_as_it_was(entry)
        if entry.expires_at_s <= self._clock():
            return Reason.EXPIRED
        if entry.vector:
            length = len(entry.vector) // 4
            self._replica.lengths.check(entry.tenant_id, entry.embedding_fingerprint, length)
        return await self._put_fresh(entry)

    async def export(self, tenant_id: str) -> AsyncIterator[Entry]:
        """Yield every answer of a tenant that is not past its end.

        Raises:
            DependencyUnavailableError: the store does not answer.
        """
        keys = await self._patient_store.keys(tenant_id)
        async for page in self._patient_store.pages(tenant_id, keys):
            for entry in page:
                if entry.expires_at_s > self._clock():
                    yield entry

    async def remove(self, tenant_id: str, selector: Selector) -> int:
        """Remove the answers that a selector matches; return how many there were.

        Raises:
            DependencyUnavailableError: the store does not answer; some may be removed.
        """
        removed, now_s = 0, self._clock()
        keys = await self._patient_store.keys(tenant_id)
        async for page in self._patient_store.pages(tenant_id, keys):
            removed += await self._drop([each for each in page if _matches(selector, each, now_s)])
        return removed

    async def report(
        self,
        tenant_id: str,
        entry_id: str,
        verdict: Verdict,
        layer: CacheLayer = CacheLayer.NONE,
    ) -> bool:
        """Take a verdict; return True if the answer was there and was removed.

        A good one lets the answer out of quarantine.

        Args:
            tenant_id: whose answer.
            entry_id: its name.
            verdict: good or bad.
            layer: by which it came to whoever judges it.

        Raises:
            DependencyUnavailableError: the store does not answer.
        """
        if self._desk is not None and layer is CacheLayer.SEMANTIC:
            self._desk.reported(tenant_id, entry_id, wrong=verdict is Verdict.BAD)
        if verdict is not Verdict.BAD:
            if self._quarantine is not None:
                await self._quarantine.vouch(tenant_id, entry_id)
            return False
        key = await self._patient_store.key_of(tenant_id, entry_id)
        if key is None:
            return False
        removed = await self._patient_store.remove(tenant_id, [(key, entry_id)])
        self._replica.index.remove(key, entry_id)
        return removed > 0

    async def _catch_up(self, entry: Entry) -> None:
        """Let the watch hear of what the answer was built from."""
        if entry.refusal or entry.provenance is Provenance.COLLECTION:
            await self._freshness.ready(self._patience_s(), entry.index_version)
        elif entry.provenance is not Provenance.TTL:
            await self._freshness.catch_up(entry.sources, self._patience_s())

    def _patience_s(self) -> float:
        budget = current_budget()
        if budget is None:
            return _CATCH_UP_S
        return max(0.0, min(_CATCH_UP_S, budget.remaining_s() - _STORE_RESERVE_S))

    async def _put_fresh(self, entry: Entry) -> Reason:
        """Store an answer, unless what it was built from has changed."""
        await self._catch_up(entry)
        changed = judge_entry(self._freshness, entry)
        return await self._put(entry) if changed is None else changed

    async def _put(self, entry: Entry) -> Reason:
        ttl_s = entry.expires_at_s - self._clock()
        for _ in range(_TRIES):
            try:
                better = await self._store.put(entry, ttl_s)
            except DamagedRecordError:
                continue
            if better is None:
                self._replica.index.put([entry])
                if self._desk is not None:
                    self._desk.written(entry.tenant_id, entry.key, entry.pages)
                return Reason.OK
            if self._serves(better, entry.provenance):
                break
            await self._drop([better])
        return Reason.BETTER_STORED

    def _serves(self, entry: Entry, wanted: Provenance) -> bool:
        """Return whether an answer may still be of use: not once it is past or outdated."""
        if entry.expires_at_s <= self._clock():
            return False
        changed = judge_entry(self._freshness, entry, wanted)
        return changed is not Reason.DOCUMENT_CHANGED

    async def _drop(self, entries: list[Entry]) -> int:
        if not entries:
            return 0
        named = [(each.key, each.entry_id) for each in entries]
        removed = await self._patient_store.remove(entries[0].tenant_id, named)
        for key, entry_id in named:
            self._replica.index.remove(key, entry_id)
        return removed

    def _as_old_as_it_was(self, entry: Entry) -> Entry:
        # A clock that runs ahead elsewhere must not give an answer more time here.
        created_at_s = min(entry.created_at_s, self._clock())
        ends = self._lifetimes.ends(entry, created_at_s)
        return replace(
            entry,
            created_at_s=created_at_s,
            stale_at_s=min(entry.stale_at_s, ends.stale_at_s),
            expires_at_s=min(entry.expires_at_s, ends.expires_at_s),
        )

    def _entry(self, draft: Draft) -> Entry:
        key = question_key(draft.tenant_id, draft.asked)
        now_s = self._clock()
        ends = self._lifetimes.ends(draft, now_s)
        usage = draft.usage
        return Entry(
            entry_id=draft.entry_id,
            tenant_id=draft.tenant_id,
            key=key.exact,
            context=key.context,
            question=normalised(draft.asked.question),
            collection=draft.asked.collection,
            created_at_s=now_s,
            expires_at_s=ends.expires_at_s,
            finish_reason=draft.finish_reason,
            quality=draft.quality,
            degraded=draft.degraded,
            model=draft.model,
            prompt=draft.prompt,
            sources=draft.sources,
            store_id=draft.store_id,
            tags=draft.tags,
            embedding_fingerprint=draft.embedding_fingerprint,
            vector=draft.vector,
            pages=draft.pages,
            stale_at_s=ends.stale_at_s,
            shared_from_s=ends.shared_from_s,
            made_in_s=draft.made_in_s,
            input_tokens=usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens,
            output_tokens=usage.output_tokens,
            index_version=draft.index_version,
            refusal=draft.refusal,
            provenance=draft.provenance,
        )


def _is_worth_keeping(draft: Draft) -> bool:
    """Return whether all was said that was to be said: an answer, or that there is none."""
    if draft.refusal:
        return draft.finish_reason is FinishReason.NO_ANSWER
    return draft.finish_reason.is_whole


def _as_far_as_it_may_be_found(draft: Draft) -> Draft:
    """Return an answer without what would give it to those who must not, or need not, get it."""
    is_personal_ = not draft.shares_personal and is_personal(draft.asked.question)
    return replace(draft, vector=b"") if draft.refusal or is_personal_ else draft


def _matches(selector: Selector, entry: Entry, now_s: float) -> bool:
    match selector:
        case Everything():
            return True
        case WithTag(tag):
            return tag in entry.tags
        case AskedOf(collection):
            return entry.collection == collection
        case BuiltFrom(collection, document_id):
            built_from = {(each.collection, each.document_id) for each in entry.sources}
            return (collection, document_id) in built_from
        case WrittenBy(model):
            return entry.model == model
        case OlderThan(age_s):
            return now_s - entry.created_at_s >= age_s
