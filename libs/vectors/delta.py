"""The delta: the newest vectors, few enough to look at each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import faiss
import numpy as np
from numpy.typing import NDArray

# Small, since a cache keeps many indexes of one or two vectors.
FIRST_CAPACITY = 4


@dataclass(frozen=True, slots=True)
class Delta:
    """The first `count` rows of buffers that are only ever appended to.

    A reader keeps the delta it took: rows beyond its `count` do not exist for it, and
    `live` is replaced, never written.

    Attributes:
        ids: int64 buffer; at least `count` long.
        matrix: float32 buffer beside it.
        count: rows that belong to this delta.
        live: one flag for each of them; False once replaced or removed.
    """

    ids: NDArray[np.int64]
    matrix: NDArray[np.float32]
    count: int
    live: NDArray[np.bool_]

    @classmethod
    def empty(cls, dimensions: int) -> Self:
        """Return a delta of no rows."""
        ids = np.empty(FIRST_CAPACITY, np.int64)
        matrix = np.empty((FIRST_CAPACITY, dimensions), np.float32)
        return cls(ids, matrix, 0, np.empty(0, np.bool_))

    def appended(self, ids: NDArray[np.int64], matrix: NDArray[np.float32]) -> Self:
        """Return this delta with more rows; only the newest delta may be appended to."""
        end = self.count + len(ids)
        grown = self if end <= len(self.ids) else self._grown(end)
        grown.ids[self.count : end] = ids
        grown.matrix[self.count : end] = matrix
        live = np.concatenate([self.live, np.ones(len(ids), np.bool_)])
        return replace(grown, count=end, live=live)

    def after(self, start: int) -> Self:
        """Return a delta of its own that holds the rows from `start` on, dead ones as well."""
        rest = type(self).empty(self.matrix.shape[1])
        rest = rest.appended(self.ids[start : self.count], self.matrix[start : self.count])
        return replace(rest, live=self.live[start:])

    def without(self, positions: NDArray[np.intp]) -> Self:
        """Return this delta with the rows at `positions` dead."""
        live = self.live.copy()
        live[positions] = False
        return replace(self, live=live)

    def search(
        self, vector: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return up to `k` live rows nearest to `vector`, in no order."""
        ids = self.ids[: self.count]
        wanted = self.live if allowed is None else self.live & np.isin(ids, allowed)
        rows = np.flatnonzero(wanted)
        scores = self._inner_products(vector)[rows]
        if len(rows) > k:
            best = np.argpartition(-scores, k - 1)[:k]
            rows, scores = rows[best], scores[best]
        return ids[rows], scores

    def _inner_products(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = np.empty(self.count, np.float32)
        if self.count:
            # Not NumPy's product: BLAS starts threads for it, and it holds the interpreter lock.
            faiss.fvec_inner_products_ny(  # type: ignore[attr-defined] # the stubs are partial
                faiss.swig_ptr(scores),
                faiss.swig_ptr(vector),
                faiss.swig_ptr(self.matrix),
                self.matrix.shape[1],
                self.count,
            )
        return scores

    def _grown(self, least: int) -> Self:
        capacity = max(least, 2 * len(self.ids))
        ids = np.empty(capacity, np.int64)
        matrix = np.empty((capacity, self.matrix.shape[1]), np.float32)
        ids[: self.count] = self.ids[: self.count]
        matrix[: self.count] = self.matrix[: self.count]
        return replace(self, ids=ids, matrix=matrix)
