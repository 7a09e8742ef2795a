"""One search: by words and by meaning at once, over one moment of the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from libs.errors import DimensionMismatchError, FingerprintMismatchError
from libs.values import Passage, Timing
from libs.values.retrieval import PassageList, SearchQuery, SearchStage
from services.retrieval.fusion import fused
from services.retrieval.reader import Collection, Reader, Where
from services.retrieval.shelf import ByScope, Shelf, nearest
from services.retrieval.store import Snapshot, Store

# Passages that each ranking hands to the fusion, at least.
DEPTH = 50
# Where there are filters this many times as many are looked at first: if enough of them
# pass, the ids that pass need not all be listed.
FILTER_MARGIN = 4

Ranking = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class _Scene:
    """Where one search looks.

    Attributes:
        where: which passages may be found.
        views: the collection's vectors by scope.
        vector: the question; None if it has no vector.
        depth: passages that each ranking hands to the fusion.
    """

    where: Where
    views: ByScope
    vector: NDArray[np.float32] | None
    depth: int

    def nearest(self, count: int, allowed: NDArray[np.int64] | None = None) -> Ranking:
        """Return the passages nearest to the question in the scopes that may be seen."""
        scopes = {"", self.where.scope}
        return (
            [] if self.vector is None else nearest(self.views, scopes, self.vector, count, allowed)
        )


class Search:
    """Finds passages; each list is exact for the version that it names."""

    def __init__(self, store: Store, shelf: Shelf, executor: Executor) -> None:
        """Read from `store` and `shelf`; look at vectors in `executor`."""
        self._store = store
        self._shelf = shelf
        self._executor = executor

    async def find(
        self, query: SearchQuery, vector: NDArray[np.float32] | None
    ) -> AsyncGenerator[PassageList]:
        """Yield the list by words if the one by meaning is not ready yet, then both fused.

        Without a vector, or vectors, the list by words is the only one.

        Raises:
            CollectionNotFoundError: the collection is not there.
            DimensionMismatchError: `vector` is not of the collection's length.
            FingerprintMismatchError: `vector` is of another model.
        """
        async with self._store.snapshot() as snapshot:
            scene = await snapshot.run(lambda reader: self._scene(reader, query, vector))
            dense = None if vector is None else self._executor.submit(_first_look, scene)
            try:
                found, words = await snapshot.run(
                    lambda reader: _by_words(reader, scene, query, dense)
                )
                yield _queued(found, snapshot)
                if dense is not None and not found.final:
                    meaning = await asyncio.wrap_future(dense)
                    found = await snapshot.run(
                        lambda reader: _both(reader, scene, query, words, meaning)
                    )
                    yield _queued(found, snapshot)
            finally:
                if dense is not None:
                    dense.cancel()

    def _scene(
        self, reader: Reader, query: SearchQuery, vector: NDArray[np.float32] | None
    ) -> _Scene:
        depth = max(query.limit, DEPTH)
        while True:
            collection = reader.collection(query.tenant_id, query.collection)
            where = Where(collection.row, query.scope, query.filters)
            if vector is None:
                return _Scene(where, {}, None, depth)
            _check_model(collection, query, len(vector))
            views = self._shelf.at(collection.row, reader.version)
            if views is not None:
                return _Scene(where, views, vector, depth)
            # Writes have outrun the snapshot; its vectors are not kept any more.
            reader.begin()


def _first_look(scene: _Scene) -> Ranking:
    return scene.nearest(scene.depth * (FILTER_MARGIN if scene.where.filters else 1))


def _by_meaning(reader: Reader, scene: _Scene, looked_at: Ranking) -> Ranking:
    """Return the nearest passages that the filters leave, however few those are."""
    if not scene.where.filters:
        return looked_at
    kept = reader.kept(scene.where, looked_at)
    if len(kept) < scene.depth and len(looked_at) == scene.depth * FILTER_MARGIN:
        return scene.nearest(scene.depth, reader.allowed(scene.where))
    return kept[: scene.depth]


def _by_words(
    reader: Reader, scene: _Scene, query: SearchQuery, dense: Future[Ranking] | None
) -> tuple[PassageList, Ranking]:
    """Return the list by words, or at once the fused one if the meaning is known by then."""
    words = reader.by_words(scene.where, query.question, scene.depth)
    if dense is not None and dense.done():
        return _both(reader, scene, query, words, dense.result()), words
    passages = reader.passages(scene.where, words[: query.limit])
    return _list(reader, passages, SearchStage.LEXICAL, final=dense is None), words


def _both(
    reader: Reader, scene: _Scene, query: SearchQuery, words: Ranking, looked_at: Ranking
) -> PassageList:
    meaning = _by_meaning(reader, scene, looked_at)
    passages = reader.passages(scene.where, fused([words, meaning], query.limit))
    return _list(reader, passages, SearchStage.FUSED, final=True)


def _check_model(collection: Collection, query: SearchQuery, dimensions: int) -> None:
    if not collection.fingerprint:
        return
    if dimensions != collection.dimensions:
        raise DimensionMismatchError(
            f"embedding has {dimensions} dimensions, the collection has {collection.dimensions}",
            got=dimensions,
            want=collection.dimensions,
        )
    if query.embedding_fingerprint != collection.fingerprint:
        raise FingerprintMismatchError(
            f"embedding is of model {query.embedding_fingerprint},"
            f" the collection of {collection.fingerprint}",
            got=query.embedding_fingerprint,
            want=collection.fingerprint,
        )


def _list(
    reader: Reader, passages: tuple[Passage, ...], stage: SearchStage, *, final: bool
) -> PassageList:
    return PassageList(passages, stage, reader.version, reader.store_id, final=final)


def _queued(found: PassageList, snapshot: Snapshot) -> PassageList:
    return replace(found, timing=Timing(queue_s=snapshot.waited_s))
