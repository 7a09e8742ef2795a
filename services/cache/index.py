"""The stored questions by meaning: this replica's copy of what Redis holds."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np

from libs.vectors import VectorIndex
from services.cache.entry import Entry
from services.cache.vectors import Vector, VectorLengths

# A search of fewer vectors takes less time than handing it to a thread (about 0.1 ms).
_INLINE_COUNT = 1_000


class Partition(NamedTuple):
    """Questions that may be compared with each other: of one tenant, context and model."""

    tenant_id: str
    context: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A stored question near to the one asked; `similarity` is a cosine in [-1, 1]."""

    key: str
    entry_id: str
    similarity: float


@dataclass(frozen=True, slots=True)
class _Known:
    number: int
    partition: Partition
    key: str
    entry_id: str
    expires_at_s: float


class MeaningIndex:
    """Vectors of stored questions, found within one partition.

    Written and asked by the event loop alone; only a search of many vectors and a
    compaction run in a thread, which `VectorIndex` allows beside writes.
    """

    def __init__(self, lengths: VectorLengths) -> None:
        self._lengths = lengths
        self._numbers = count()
        self._vectors: dict[Partition, VectorIndex] = {}
        self._by_key: dict[str, _Known] = {}
        self._by_number: dict[int, _Known] = {}
        self._expiries: list[tuple[float, int]] = []
        self._counts: Counter[str] = Counter()

    def count(self, tenant_id: str) -> int:
        """Return how many questions of a tenant can be found."""
        return self._counts[tenant_id]

    def __len__(self) -> int:
        """How many questions can be found, of all tenants."""
        return len(self._by_key)

    def holds(self, key: str, entry_id: str) -> bool:
        """Return whether this very answer can be found."""
        known = self._by_key.get(key)
        return known is not None and known.entry_id == entry_id

    def put(self, entries: Iterable[Entry]) -> None:
        """Let answers be found, each in place of the one under its key."""
        rows: defaultdict[Partition, list[tuple[int, Vector]]] = defaultdict(list)
        for entry in {entry.key: entry for entry in entries}.values():
            self.remove(entry.key)
            if self._fits(entry):
                known = self._remembered(entry)
                rows[known.partition].append((known.number, _vector(entry)))
        for partition, new in rows.items():
            numbers, vectors = zip(*new, strict=True)
            self._partition(partition, len(vectors[0])).add(numbers, np.stack(vectors))

    def remove(self, key: str, entry_id: str = "") -> None:
        """Forget what is under a key; with `entry_id`, only if it is that answer."""
        known = self._by_key.get(key)
        if known is None or (entry_id and known.entry_id != entry_id):
            return
        del self._by_key[key], self._by_number[known.number]
        self._counts[known.partition.tenant_id] -= 1
        vectors = self._vectors[known.partition]
        vectors.remove([known.number])
        if not len(vectors):
            del self._vectors[known.partition]

    async def search(self, partition: Partition, vector: Vector, k: int) -> list[Neighbour]:
        """Return the `k` nearest questions of a partition, nearest first."""
        vectors = self._vectors.get(partition)
        if vectors is None:
            return []
        if len(vectors) <= _INLINE_COUNT:
            found = vectors.search(vector, k)
        else:
            found = await asyncio.to_thread(vectors.search, vector, k)
        near = zip(map(self._by_number.get, found.ids.tolist()), found.scores.tolist(), strict=True)
        return [
            # A product of two float32 vectors may be above 1 by a rounding.
            Neighbour(known.key, known.entry_id, max(-1.0, min(1.0, score)))
            for known, score in near
            if known is not None
        ]

    def sweep(self, now_s: float) -> None:
        """Forget what has expired, in seconds of the wall clock."""
        while self._expiries and self._expiries[0][0] <= now_s:
            _, number = heapq.heappop(self._expiries)
            known = self._by_number.get(number)
            if known is not None:
                self.remove(known.key)

    async def compact(self) -> None:
        """Bring partitions that have changed much into their quickest form, in a thread."""
        for vectors in [each for each in self._vectors.values() if each.wants_compaction]:
            await asyncio.to_thread(vectors.compact)

    def _partition(self, partition: Partition, dimensions: int) -> VectorIndex:
        vectors = self._vectors.get(partition)
        if vectors is None:
            vectors = self._vectors[partition] = VectorIndex(dimensions)
        return vectors

    def _fits(self, entry: Entry) -> bool:
        return bool(entry.vector) and self._lengths.fits(
            entry.tenant_id, entry.embedding_fingerprint, len(_vector(entry))
        )

    def _remembered(self, entry: Entry) -> _Known:
        partition = Partition(entry.tenant_id, entry.context, entry.embedding_fingerprint)
        number = next(self._numbers)
        known = _Known(number, partition, entry.key, entry.entry_id, entry.expires_at_s)
        self._by_key[entry.key] = self._by_number[number] = known
        self._counts[entry.tenant_id] += 1
        heapq.heappush(self._expiries, (entry.expires_at_s, number))
        return known


def _vector(entry: Entry) -> Vector:
    return np.frombuffer(entry.vector, dtype="<f4")
