"""Vectors by id, searched by many threads while others write."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from libs.vectors.delta import Delta
from libs.vectors.segment import SEARCH_BREADTH, Segment
from libs.vectors.view import Found, View

# Above this many vectors a graph is quicker than looking at each (0.5 ms at 384 dimensions).
GRAPH_ABOVE = 10_000
# A delta of this size costs a search about 25 us. A larger base carries a larger one, since
# sealing it anew takes longer: while it grows, each vector is sealed about five times.
DELTA_COUNT = 1_024
DELTA_SHARE = 4


class VectorIndex:
    """Vectors in memory under ids of the caller's choice; what they mean is kept elsewhere.

    A search takes no lock and sees either all of a write or nothing of it. Writes wait
    for each other, not for searches nor for a running `compact`.
    """

    def __init__(
        self,
        dimensions: int,
        *,
        graph_above: int = GRAPH_ABOVE,
        threads: int = 1,
        breadth: int = SEARCH_BREADTH,
    ) -> None:
        self._dimensions = dimensions
        self._breadth = breadth
        self._graph_above = graph_above
        self._threads = threads
        self._writing = threading.Lock()
        self._compacting = threading.Lock()
        self._delta_at: dict[int, int] = {}
        nothing = np.empty(0, np.int64), np.empty((0, dimensions), np.float32)
        self._view = self._sealed(*nothing, graph=False)

    @classmethod
    def rebuilt(
        cls,
        dimensions: int,
        ids: ArrayLike,
        matrix: ArrayLike,
        *,
        graph_above: int = GRAPH_ABOVE,
        threads: int = 1,
    ) -> Self:
        """Return an index of these rows, in the time it takes to copy them.

        It is exact at first; a large one `wants_compaction`, which builds its graph.
        """
        index = cls(dimensions, graph_above=graph_above, threads=threads)
        index._view = index._sealed(*_rows(ids, matrix, dimensions), graph=False)
        return index

    def __len__(self) -> int:
        """Return how many vectors can be found."""
        return len(self._view)

    @property
    def dimensions(self) -> int:
        """The length of every vector."""
        return self._dimensions

    @property
    def scanned_count(self) -> int:
        """How many rows a search looks at one by one; those of a graph are not among them."""
        view = self._view
        base_count = 0 if view.base.graph is not None else len(view.base_live)
        return base_count + view.delta.count

    @property
    def wants_compaction(self) -> bool:
        """True if `compact` would make searches noticeably quicker."""
        view = self._view
        base_count = len(view.base_live)
        return (
            view.delta.count > max(DELTA_COUNT, base_count // DELTA_SHARE)
            or view.dead_count > max(DELTA_COUNT, base_count // 2)
            or (view.base.graph is None and base_count > self._graph_above)
        )

    def view(self) -> View:
        """Return what can be found now; it stays so, whatever is written later."""
        return self._view

    def ids(self) -> NDArray[np.int64]:
        """Return the ids that can be found, ascending."""
        return np.sort(self._view.ids())

    def add(self, ids: ArrayLike, matrix: ArrayLike) -> None:
        """Store vectors, in place of those with the same ids; all become visible at once.

        Args:
            ids: int64, each at most once.
            matrix: one row for each id, L2-normalised by the caller.

        Raises:
            ValueError: an id comes twice, a number is not finite, or rows and ids do not match.
        """
        new_ids, rows = _rows(ids, matrix, self._dimensions)
        with self._writing:
            view, _ = self._without(new_ids)
            at = range(view.delta.count, view.delta.count + len(rows))
            self._view = replace(view, delta=view.delta.appended(new_ids, rows))
            self._delta_at.update(zip(new_ids.tolist(), at, strict=True))

    def remove(self, ids: ArrayLike) -> int:
        """Remove vectors; ids that are not here are no error. Return how many were."""
        with self._writing:
            self._view, count = self._without(np.asarray(ids, np.int64).reshape(-1))
        return count

    def search(self, vector: ArrayLike, k: int, allowed: ArrayLike | None = None) -> Found:
        """Return the `k` vectors with the greatest inner product with `vector`.

        Args:
            vector: the question.
            k: how many, at least 1; fewer are returned only if there are no more.
            allowed: ids that may be returned; None allows all, an empty list none.

        Raises:
            DimensionMismatchError: `vector` is not of the index's length.
            ValueError: `k` is below 1.
        """
        return self._view.search(vector, k, allowed)

    def compact(self) -> None:
        """Seal everything into a new base; searches and writes go on meanwhile.

        Takes long where a graph is built (10,000 rows: seconds): run it in a thread.
        """
        with self._compacting:
            before = self._view
            ids, matrix = before.rows()
            after = self._sealed(ids, matrix, graph=len(ids) > self._graph_above)
            with self._writing:
                self._view = _carried_over(before, self._view, ids, after)
                delta = self._view.delta
                live = np.flatnonzero(delta.live)
                self._delta_at = dict(zip(delta.ids[live].tolist(), live.tolist(), strict=True))

    def _sealed(self, ids: NDArray[np.int64], matrix: NDArray[np.float32], *, graph: bool) -> View:
        base = Segment.sealed(
            ids, matrix, graph=graph, threads=self._threads, breadth=self._breadth
        )
        return View(base, np.ones(len(ids), np.bool_), 0, Delta.empty(self._dimensions))

    def _without(self, ids: NDArray[np.int64]) -> tuple[View, int]:
        at = self._view.base.positions(np.unique(ids))
        at = at[self._view.base_live[at]]
        known = [self._delta_at.pop(each) for each in ids.tolist() if each in self._delta_at]
        view = self._view.without_base(at)
        if known:
            view = replace(view, delta=view.delta.without(np.array(known, np.intp)))
        return view, len(at) + len(known)


def _rows(
    ids: ArrayLike, matrix: ArrayLike, dimensions: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    numbers = np.asarray(ids, np.int64).reshape(-1)
    rows = np.ascontiguousarray(matrix, np.float32)
    if rows.shape != (len(numbers), dimensions):
        message = f"{len(numbers)} ids need a matrix of {len(numbers)} x {dimensions} numbers"
        raise ValueError(f"{message}, got {rows.shape}")
    if len(np.unique(numbers)) != len(numbers):
        raise ValueError("an id comes twice in one write")
    if not np.isfinite(rows).all():
        raise ValueError("a vector has a number that is not finite")
    return numbers, rows


def _carried_over(before: View, now: View, ids: NDArray[np.int64], after: View) -> View:
    """Return `after`, made from `before`, with what was written since then."""
    old = before.delta
    still = np.concatenate([now.base_live[before.base_live], now.delta.live[: old.count][old.live]])
    gone = after.base.positions(ids[~still])
    return replace(after.without_base(gone), delta=now.delta.after(old.count))
