"""One search: by words and by meaning at once, then in order, over one moment of the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from libs.errors import DimensionMismatchError, FingerprintMismatchError
from libs.values import Passage, Timing
from libs.values.retrieval import PassageList, SearchQuery, SearchStage
from services.retrieval.fusion import fused
from services.retrieval.reader import ByWords, Collection, Reader, Where
from services.retrieval.reranking.features import Asked, Candidate
from services.retrieval.reranking.reranker import DEPTH as DEPTH_RERANKED
from services.retrieval.reranking.reranker import Reranker
from services.retrieval.shelf import ByScope, Shelf, nearest
from services.retrieval.store import Snapshot, Store

# Passages that each ranking hands to the fusion, at least.
DEPTH = 50
# Where there are filters this many times as many are looked at first: if enough of them
# pass, the ids that pass need not all be listed.
FILTER_MARGIN = 4

Ranking = Sequence[tuple[int, float]]
NOTHING_ASKED = Asked("", {}, 0)


@dataclass(frozen=True, slots=True)
class _Scene:
    """Where one search looks.

    Attributes:
        where: which passages may be found.
        views: the collection's vectors by scope.
        vector: the question; None if it has no vector.
        depth: passages that each ranking hands to the fusion.
        reranked: passages that are put in order afterwards; 0 leaves them as they are fused.
    """

    where: Where
    views: ByScope
    vector: NDArray[np.float32] | None
    depth: int
    reranked: int = 0

    def nearest(self, count: int, allowed: NDArray[np.int64] | None = None) -> Ranking:
        """Return the passages nearest to the question in the scopes that may be seen."""
        scopes = {"", self.where.scope}
        return (
            [] if self.vector is None else nearest(self.views, scopes, self.vector, count, allowed)
        )


@dataclass(frozen=True, slots=True)
class _Step:
    """A list, and what it takes to put its passages in a better order.

    Attributes:
        list: as it is sent.
        words: what the question's words found.
        pool: the passages that may be put in order, best first, at least those of the list.
        candidates: the first of the pool, as a reranker sees them.
        asked: the question, as a reranker sees it.
    """

    list: PassageList
    words: ByWords
    pool: tuple[Passage, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    asked: Asked = NOTHING_ASKED


class Search:
    """Finds passages; each list is exact for the version that it names."""

    def __init__(
        self, store: Store, shelf: Shelf, executor: Executor, reranker: Reranker | None = None
    ) -> None:
        """Find passages.

        Args:
            store: where texts are read.
            shelf: where vectors are.
            executor: looks at vectors.
            reranker: puts the best in order; None leaves them as they are fused.
        """
        self._store = store
        self._shelf = shelf
        self._executor = executor
        self._reranker = reranker
        self._reranked_count = 0 if reranker is None else DEPTH_RERANKED

    async def find(
        self, query: SearchQuery, vector: NDArray[np.float32] | None
    ) -> AsyncGenerator[PassageList]:
        """Yield the list by words if the one by meaning is not ready yet, both fused, reranked.

        Without a vector, or vectors, the list by words is the only one. What cannot be put in
        order in time is yielded as it was fused, once more.

        Raises:
            CollectionNotFoundError: the collection is not there.
            DimensionMismatchError: `vector` is not of the collection's length.
            FingerprintMismatchError: `vector` is of another model.
        """
        async with self._store.snapshot() as snapshot:
            scene = await snapshot.run(lambda reader: self._scene(reader, query, vector))
            dense = None if vector is None else self._executor.submit(_first_look, scene)
            try:
                step = await snapshot.run(lambda reader: _by_words(reader, scene, query, dense))
                yield _queued(step.list, snapshot)
                if dense is not None and step.list.stage is SearchStage.LEXICAL:
                    words, meaning = step.words, await asyncio.wrap_future(dense)
                    step = await snapshot.run(
                        lambda reader: _both(reader, scene, query, words, meaning)
                    )
                    yield _queued(step.list, snapshot)
            finally:
                if dense is not None:
                    dense.cancel()
            queued = _queued(step.list, snapshot)
        # The connection is free again: putting in order may wait for another service.
        if self._reranker is not None and not queued.final:
            yield await self._reranked(self._reranker, replace(step, list=queued), query.limit)

    async def _reranked(self, reranker: Reranker, step: _Step, limit: int) -> PassageList:
        scores = await reranker.scores(step.asked, step.candidates)
        if scores is None:
            return replace(step.list, final=True)
        passages = in_order(step.pool, scores)[:limit]
        return replace(step.list, passages=passages, stage=SearchStage.RERANKED, final=True)

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
                return _Scene(where, views, vector, depth, self._reranked_count)
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
) -> _Step:
    """Return the list by words, or at once the fused one if the meaning is known by then."""
    words = reader.by_words(scene.where, query.question, scene.depth)
    if dense is not None and dense.done():
        return _both(reader, scene, query, words, dense.result())
    passages = reader.passages(scene.where, words.ranking[: query.limit])
    return _Step(_list(reader, passages, SearchStage.LEXICAL, final=dense is None), words)


def _both(
    reader: Reader, scene: _Scene, query: SearchQuery, words: ByWords, looked_at: Ranking
) -> _Step:
    meaning = _by_meaning(reader, scene, looked_at)
    best = fused([words.ranking, meaning], max(query.limit, scene.reranked))
    found = reader.found(scene.where, best)
    pool = tuple(found.values())
    fused_list = _list(reader, pool[: query.limit], SearchStage.FUSED, final=not scene.reranked)
    if not scene.reranked:
        return _Step(fused_list, words)
    ids = list(found)[: scene.reranked]
    candidates = _candidates(reader, scene, found, ids, words.ranking, meaning)
    total = sum(map(len, scene.views.values()))
    return _Step(fused_list, words, pool, candidates, Asked(query.question, words.counts, total))


def _candidates(
    reader: Reader,
    scene: _Scene,
    found: Mapping[int, Passage],
    ids: Sequence[int],
    words: Ranking,
    meaning: Ranking,
) -> tuple[Candidate, ...]:
    by_words = {each: rank for rank, (each, _) in enumerate(words, start=1)}
    by_meaning = {each: rank for rank, (each, _) in enumerate(meaning, start=1)}
    cosines = dict(meaning)
    distant = [each for each in ids if each not in cosines]
    if scene.vector is not None and distant:
        cosines |= reader.cosines(distant, scene.vector)
    return tuple(
        Candidate(
            *(found[each].title, found[each].heading, found[each].text),
            cosines.get(each, 0.0),
            by_words.get(each),
            by_meaning.get(each),
        )
        for each in ids
    )


def in_order(pool: Sequence[Passage], scores: Sequence[float]) -> tuple[Passage, ...]:
    """Return passages, those that have a score in its order, then the others as they were.

    Args:
        pool: passages, best first by what was known before.
        scores: of the first of them; ties stay as they were.
    """
    ranked = sorted(range(len(scores)), key=lambda at: -scores[at])
    head = [replace(pool[at], score=scores[at]) for at in ranked]
    lowest = head[-1].score if head else 0.0
    # Scores compare within a list: the rest follows below the last.
    rest = (
        replace(each, score=lowest - number)
        for number, each in enumerate(pool[len(scores) :], start=1)
    )
    return (*head, *rest)


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
