"""Which changes of documents make an answer unusable: what its policy says."""

from __future__ import annotations

from libs.values.cache import Provenance
from services.cache.entry import Entry
from services.cache.freshness import Freshness
from services.cache.reasons import Reason


def judge_entry(
    freshness: Freshness, entry: Entry, wanted: Provenance = Provenance.UNSPECIFIED
) -> Reason | None:
    """Return why an answer may not be used; None if it may.

    Of what it was stored with and what is wanted now, the stricter counts: an answer that
    one policy keeps until its time is over is not for another that wants it up to date.
    That there is no answer depends on all documents of the collection, new ones included.
    """
    if entry.refusal:
        return _judge_all(freshness, entry)
    provenance = max(entry.provenance, wanted)
    if provenance is Provenance.TTL:
        return None
    if provenance is Provenance.COLLECTION:
        return _judge_collection(freshness, entry)
    return freshness.judge(entry.tenant_id, entry.sources, entry.store_id)


def _judge_collection(freshness: Freshness, entry: Entry) -> Reason | None:
    if not entry.index_version:
        # Stored by a policy that did not say what it read; nothing can be compared.
        return Reason.DOCUMENT_CHANGED
    return _judge_all(freshness, entry)


def _judge_all(freshness: Freshness, entry: Entry) -> Reason | None:
    return freshness.judge_collection(
        entry.tenant_id, entry.collection, entry.index_version, entry.store_id
    )
