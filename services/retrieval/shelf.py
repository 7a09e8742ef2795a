"""The vectors of every collection, as they were at each of the last versions."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from libs.vectors import VectorIndex, View
from services.retrieval.reader import Reader
from services.retrieval.writer import Commit, Patch

# A reader takes its vectors right after its snapshot; one that was outrun by this many
# writes of its collection in between takes a new snapshot.
VERSIONS_KEPT = 8
PATIENCE_S = 1.0

ByScope = Mapping[str, View]


class Shelf:
    """Vectors by collection and scope, kept in step with the store.

    A scope is a partition of its own: what a search may not see is not in what it searches.
    Every method blocks; none may run in the event loop.
    """

    def __init__(self, *, graph_above: int, threads: int) -> None:
        self._graph_above = graph_above
        self._threads = threads
        self._version = -1
        self._indexes: dict[int, dict[str, VectorIndex]] = {}
        self._views: dict[int, deque[tuple[int, ByScope]]] = {}
        self._moved = threading.Condition()

    def load(self, reader: Reader) -> tuple[int, str]:
        """Fill the shelf from the store, and return its version and id.

        Nothing may be written meanwhile.
        """
        with self._moved:
            for collection in reader.collections():
                self._indexes[collection.row] = {
                    scope: self._index(ids, matrix)
                    for scope, ids, matrix in reader.vectors(collection)
                }
                self._views[collection.row] = deque(maxlen=VERSIONS_KEPT)
                # Nobody can read at a version before the one that is there now.
                self._publish(collection.row, 0)
            self._version = reader.version
        return reader.version, reader.store_id

    def apply(self, commit: Commit) -> None:
        """Follow a write; the next in order after the one before."""
        if commit.patch is None:
            return
        with self._moved:
            self._apply(commit.patch, commit.version)
            self._version = commit.version
            self._moved.notify_all()

    def at(self, collection: int, version: int) -> ByScope | None:
        """Return a collection's vectors by scope as they were at a version of the store.

        Waits for a write that is committed and not here yet, which takes milliseconds.
        None if that version is not kept any more, or not to be had in time.
        """
        with self._moved:
            if not self._moved.wait_for(lambda: self._version >= version, PATIENCE_S):
                return None
            for known, views in reversed(self._views.get(collection, ())):
                if known <= version:
                    return views
        return None

    def ids(self, collection: int) -> dict[str, list[int]]:
        """Return the ids on the shelf, by scope."""
        with self._moved:
            indexes = self._indexes.get(collection, {})
            return {scope: index.ids().tolist() for scope, index in indexes.items() if len(index)}

    def compact(self) -> None:
        """Compact each index that wants it; takes long where a graph is built."""
        with self._moved:
            due = [
                (collection, index)
                for collection, indexes in self._indexes.items()
                for index in indexes.values()
                if index.wants_compaction
            ]
        for collection, index in due:
            index.compact()
            with self._moved:
                if collection in self._views:
                    self._publish(collection, self._views[collection].pop()[0])

    def _apply(self, patch: Patch, version: int) -> None:
        if not patch.exists:
            del self._indexes[patch.collection], self._views[patch.collection]
            return
        indexes = self._indexes.setdefault(patch.collection, {})
        self._views.setdefault(patch.collection, deque(maxlen=VERSIONS_KEPT))
        for scope, gone in patch.removed.items():
            indexes[scope].remove(gone)
        for scope, rows in patch.added.items():
            ids = np.array([each for each, _ in rows], np.int64)
            matrix = np.array([vector for _, vector in rows])
            if scope not in indexes:
                indexes[scope] = self._index(ids, matrix)
            else:
                indexes[scope].add(ids, matrix)
        for scope in [scope for scope, index in indexes.items() if not len(index)]:
            # An emptied scope may come back with vectors of another length.
            del indexes[scope]
        self._publish(patch.collection, version)

    def _publish(self, collection: int, version: int) -> None:
        views = {scope: index.view() for scope, index in self._indexes[collection].items()}
        self._views[collection].append((version, views))

    def _index(self, ids: NDArray[np.int64], matrix: NDArray[np.float32]) -> VectorIndex:
        return VectorIndex.rebuilt(
            matrix.shape[1], ids, matrix, graph_above=self._graph_above, threads=self._threads
        )


def nearest(
    views: ByScope,
    scopes: Iterable[str],
    vector: NDArray[np.float32],
    limit: int,
    allowed: NDArray[np.int64] | None,
) -> list[tuple[int, float]]:
    """Return up to `limit` passages of these scopes: ids and cosines, best first.

    Args:
        views: a collection's vectors.
        scopes: the partitions that may be searched.
        vector: the question.
        limit: how many at most.
        allowed: passages that may be returned; None allows all of the scopes.
    """
    found: list[tuple[int, float]] = []
    for scope in set(scopes) & views.keys():
        ids, scores = views[scope].search(vector, limit, allowed)
        found += zip(ids.tolist(), scores.tolist(), strict=True)
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:limit]
