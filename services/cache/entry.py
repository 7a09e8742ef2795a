"""A stored answer, and its record: the bytes that Redis holds.

A record is a head that Redis scripts can read (magic, rank, name), a checksum, a JSON
part with what decisions need, the vector, and the answer's events as pages ready to be
sent. Pages are bytes that nothing behind the servicer looks into: a hit costs no decoding
of its text.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from libs.values import FinishReason, Quality, SourceVersion, Usage
from libs.values.cache import AskedQuestion, Provenance

MAGIC = b"HCA2"
# What an answer is taken to have cost if nobody said, or said next to nothing.
LEAST_COST_S = 0.05
# Magic, rank, length of the name; the name follows, so that a script finds it.
_HEAD = struct.Struct(">4sBH")
# Checksum of all that follows; lengths of the JSON part and of the vector; number of pages.
_BODY = struct.Struct(">IIII")
_LENGTH = struct.Struct(">I")


class DamagedRecordError(Exception):
    """Bytes in Redis are not a record, or not the one that was written."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer that somebody wants kept.

    Attributes:
        pages: the answer's events in order, as they go over the wire.
        vector: the question, L2-normalised, packed float32, little endian; or empty.
        embedding_fingerprint: of the model that made the vector.
        prompt: SHA-256 of the full prompt in hex digits, or empty.
        made_in_s: seconds that it took to make.
        usage: tokens that it took to make.
        index_version: of the collection's store, as it was read.
        refusal: why there is no answer, if it says so; else empty.
        shares_personal: True if personal data in the question do not keep it from others.
        provenance: which changes of documents make it unusable.
    """

    tenant_id: str
    asked: AskedQuestion
    entry_id: str
    pages: tuple[bytes, ...] = field(repr=False)
    finish_reason: FinishReason
    quality: Quality
    degraded: bool = False
    model: str = ""
    prompt: str = ""
    vector: bytes = field(default=b"", repr=False)
    embedding_fingerprint: str = ""
    sources: tuple[SourceVersion, ...] = ()
    store_id: str = ""
    tags: tuple[str, ...] = ()
    made_in_s: float = 0.0
    usage: Usage = field(default_factory=Usage)
    index_version: int = 0
    refusal: str = ""
    shares_personal: bool = False
    provenance: Provenance = Provenance.SOURCES

    @property
    def collection(self) -> str:
        """The collection that was asked."""
        return self.asked.collection


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored answer: what was achieved, and what it was built from.

    Attributes:
        key: the exact key it is stored under.
        context: the key without the question.
        created_at_s: when it was stored, in seconds of the wall clock.
        expires_at_s: when it ends, whatever happens in between.
        stale_at_s: when it is to be made anew; it serves meanwhile.
        shared_from_s: when it may be found by meaning.
        made_in_s: seconds that it took to make.
        input_tokens: that it took to make, cached ones included.
        output_tokens: that it took to make.
        index_version: of the collection's store, as it was read.
        refusal: why there is no answer, if it says so; else empty.
    """

    entry_id: str
    tenant_id: str
    key: str
    context: str
    question: str
    collection: str
    created_at_s: float
    expires_at_s: float
    finish_reason: FinishReason
    quality: Quality
    degraded: bool
    model: str
    prompt: str
    sources: tuple[SourceVersion, ...]
    store_id: str
    tags: tuple[str, ...]
    embedding_fingerprint: str
    vector: bytes = field(repr=False)
    pages: tuple[bytes, ...] = field(repr=False)
    stale_at_s: float = float("inf")
    shared_from_s: float = 0.0
    made_in_s: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    index_version: int = 0
    refusal: str = ""
    provenance: Provenance = Provenance.SOURCES

    @property
    def rank(self) -> int:
        """A larger one is a better answer; of one quality, one that is not degraded."""
        return 2 * self.quality + (not self.degraded)

    def age_s(self, now_s: float) -> float:
        """Return the seconds since it was stored, never below zero."""
        return max(0.0, now_s - self.created_at_s)


def encode(entry: Entry) -> bytes:
    """Return the record of an entry."""
    name = entry.entry_id.encode()
    facts = json.dumps(_facts(entry), separators=(",", ":"), ensure_ascii=False).encode()
    pages = b"".join(_LENGTH.pack(len(page)) + page for page in entry.pages)
    sizes = _BODY.pack(0, len(facts), len(entry.vector), len(entry.pages))[_LENGTH.size :]
    head = _HEAD.pack(MAGIC, entry.rank, len(name)) + name
    rest = b"".join((sizes, facts, entry.vector, pages))
    return head + _LENGTH.pack(_checksum((head, rest))) + rest


def decode(record: bytes) -> Entry:
    """Return the entry of a record.

    Raises:
        DamagedRecordError: a byte is not as it was written, or there are too few.
    """
    try:
        return _decoded(record)
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise DamagedRecordError(f"a record of {len(record)} bytes does not decode") from error


def _decoded(record: bytes) -> Entry:
    magic, _, name_length = _HEAD.unpack_from(record)
    if magic != MAGIC:
        raise DamagedRecordError(f"a record begins with {magic!r}")
    at = _HEAD.size + name_length
    checksum, facts_length, vector_length, page_count = _BODY.unpack_from(record, at)
    if checksum != _checksum((record[:at], record[at + _LENGTH.size :])):
        raise DamagedRecordError(f"the checksum of a record of {len(record)} bytes is wrong")
    at += _BODY.size
    facts = json.loads(record[at : at + facts_length])
    at += facts_length
    vector = record[at : at + vector_length]
    return _entry(facts, vector, _pages(record, at + vector_length, page_count))


def _pages(record: bytes, at: int, count: int) -> tuple[bytes, ...]:
    pages = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(record, at)
        at += _LENGTH.size
        pages.append(record[at : at + length])
        at += length
    return tuple(pages)


def _checksum(parts: Iterable[bytes]) -> int:
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def _facts(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.entry_id,
        "tenant": entry.tenant_id,
        "key": entry.key,
        "context": entry.context,
        "question": entry.question,
        "collection": entry.collection,
        "created": entry.created_at_s,
        "expires": entry.expires_at_s,
        "finish": int(entry.finish_reason),
        "quality": int(entry.quality),
        "degraded": entry.degraded,
        "model": entry.model,
        "prompt": entry.prompt,
        "sources": [[each.collection, each.document_id, each.version] for each in entry.sources],
        "store": entry.store_id,
        "tags": entry.tags,
        "embedding": entry.embedding_fingerprint,
        "stale": entry.stale_at_s,
        "shared": entry.shared_from_s,
        "made_in": entry.made_in_s,
        "tokens": [entry.input_tokens, entry.output_tokens],
        "index": entry.index_version,
        "refusal": entry.refusal,
        "provenance": int(entry.provenance),
    }


def _entry(facts: dict[str, Any], vector: bytes, pages: tuple[bytes, ...]) -> Entry:
    return Entry(
        entry_id=facts["id"],
        tenant_id=facts["tenant"],
        key=facts["key"],
        context=facts["context"],
        question=facts["question"],
        collection=facts["collection"],
        created_at_s=facts["created"],
        expires_at_s=facts["expires"],
        finish_reason=FinishReason(facts["finish"]),
        quality=Quality(facts["quality"]),
        degraded=facts["degraded"],
        model=facts["model"],
        prompt=facts["prompt"],
        sources=tuple(SourceVersion(*each) for each in facts["sources"]),
        store_id=facts["store"],
        tags=tuple(facts["tags"]),
        embedding_fingerprint=facts["embedding"],
        vector=vector,
        pages=pages,
        stale_at_s=facts["stale"],
        shared_from_s=facts["shared"],
        made_in_s=facts["made_in"],
        input_tokens=facts["tokens"][0],
        output_tokens=facts["tokens"][1],
        index_version=facts["index"],
        refusal=facts["refusal"],
        provenance=Provenance(facts["provenance"]),
    )
