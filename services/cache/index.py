"""The stored questions by meaning: this replica's copy of what Redis holds."""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np

from libs.vectors import VectorIndex
from services.cache.entry import LEAST_COST_S, Entry
from services.cache.vectors import Vector, VectorLengths
from services.cache.worth import Worths

# Looking at fewer rows one by one takes less time than handing the search to a thread and
# back (0.3 ms in all), and so does a graph of 100,000.
_INLINE_COUNT = 4_000
# Less than what a search of documents keeps in view: only what is near can be reused, and what
# is near is found early. Of 100,000 real questions the graph finds the nearest one, if its
# cosine is .7 or more, for 99.8 % of those asked; with 64 in view it finds no more.
_BREADTH = 48
# At 384 dimensions 0.7 GB, and twice as much while a graph is built; see `CACHE_INDEX_COUNT`.
MOST_COUNT = 250_000


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

    Written and asked by the event loop alone; only a search that looks at many vectors one
    by one and a compaction run in a thread, which `VectorIndex` allows beside writes.
    """

    def __init__(self, lengths: VectorLengths, *, most_count: int = MOST_COUNT) -> None:
        """Begin empty.

        Args:
            lengths: of the vectors of each model.
            most_count: how many questions are held; beyond it, those of least worth go.
        """
        self._lengths = lengths
        self._most_count = most_count
        self._worths = Worths()
        self._numbers = count()
        self._vectors: dict[Partition, VectorIndex] = {}
        self._by_key: dict[str, _Known] = {}
        self._by_number: dict[int, _Known] = {}
        self._expiries: list[tuple[float, int]] = []
        self._tenants: dict[str, dict[str, _Known]] = {}

    def count(self, tenant_id: str) -> int:
        """Return how many questions of a tenant can be found."""
        return len(self._tenants.get(tenant_id, ()))

    def __len__(self) -> int:
        """How many questions can be found, of all tenants."""
        return len(self._by_key)

    def tenants(self) -> list[str]:
        """Return whose questions can be found."""
        return list(self._tenants)

    def keys(self, tenant_id: str) -> list[str]:
        """Return the keys of a tenant's answers that can be found."""
        return list(self._tenants.get(tenant_id, ()))

    def of_other_models(self, fingerprint: str) -> dict[str, list[str]]:
        """Return the keys, by tenant, whose vectors are of another model than this one."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for partition, vectors in self._vectors.items():
            if partition.fingerprint != fingerprint:
                known = map(self._by_number.get, vectors.ids().tolist())
                found[partition.tenant_id] += [each.key for each in known if each is not None]
        return found

    def name(self, key: str) -> str:
        """Return which answer can be found under a key; empty if none can."""
        known = self._by_key.get(key)
        return "" if known is None else known.entry_id

    @property
    def is_full(self) -> bool:
        """True if another question is taken in only in place of one that is held."""
        return len(self._by_key) >= self._most_count

    def hit(self, key: str, count: int) -> None:
        """Count uses of an answer, if it can be found: it is worth more."""
        known = self._by_key.get(key)
        if known is not None:
            self._worths.hit(known.number, count)

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
        while len(self._by_key) > self._most_count:
            self.remove(self._by_number[self._worths.least()].key)

    def remove(self, key: str, entry_id: str = "") -> None:
        """Forget what is under a key; with `entry_id`, only if it is that answer."""
        known = self._by_key.get(key)
        if known is None or (entry_id and known.entry_id != entry_id):
            return
        del self._by_key[key], self._by_number[known.number]
        self._worths.remove(known.number)
        tenant_id = known.partition.tenant_id
        del self._tenants[tenant_id][key]
        if not self._tenants[tenant_id]:
            del self._tenants[tenant_id]
        vectors = self._vectors[known.partition]
        vectors.remove([known.number])
        if not len(vectors):
            del self._vectors[known.partition]

    async def search(self, partition: Partition, vector: Vector, k: int) -> list[Neighbour]:
        """Return the `k` nearest questions of a partition, nearest first."""
        vectors = self._vectors.get(partition)
        if vectors is None:
            return []
        if vectors.scanned_count <= _INLINE_COUNT:
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

    async def search_all(self, wanted: Partition, vector: Vector, k: int) -> list[Neighbour]:
        """Return the `k` nearest questions of a tenant by one model, whatever their context."""
        near: list[Neighbour] = []
        for partition in list(self._vectors):
            if partition._replace(context="") == wanted._replace(context=""):
                near += await self.search(partition, vector, k)
        return heapq.nlargest(k, near, key=lambda each: each.similarity)

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
            vectors = self._vectors[partition] = VectorIndex(dimensions, breadth=_BREADTH)
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
        self._tenants.setdefault(entry.tenant_id, {})[entry.key] = known
        self._worths.put(number, max(entry.made_in_s, LEAST_COST_S))
        heapq.heappush(self._expiries, (entry.expires_at_s, number))
        return known


def _vector(entry: Entry) -> Vector:
    return np.frombuffer(entry.vector, dtype="<f4")
