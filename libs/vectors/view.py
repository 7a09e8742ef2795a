"""What can be found at one moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from libs.errors import DimensionMismatchError
from libs.vectors.delta import Delta
from libs.vectors.segment import Segment


class Found(NamedTuple):
    """The nearest vectors, best first.

    Attributes:
        ids: their ids, int64.
        scores: inner products with what was asked; the cosine where both are normalised.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class View:
    """All that one search reads: a base, the newest vectors, and which of them are dead.

    Replaced as a whole, never changed, so that a search needs no lock.
    """

    base: Segment
    base_live: NDArray[np.bool_]
    dead_count: int
    delta: Delta

    def __len__(self) -> int:
        """Return how many vectors can be found."""
        return len(self.base_live) - self.dead_count + int(np.count_nonzero(self.delta.live))

    def ids(self) -> NDArray[np.int64]:
        """Return the ids that can be found, in no order."""
        newest = self.delta.ids[: self.delta.count][self.delta.live]
        return np.concatenate([self.base.ids[self.base_live], newest])

    def rows(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return a copy of the ids and vectors that can be found."""
        newest = self.delta.matrix[: self.delta.count][self.delta.live]
        oldest = self.base.vectors()
        if not self.base_live.all():
            oldest = oldest[self.base_live]
        # Each copy is as large as all that is here: none is made where one is there already.
        parts = [rows for rows in (oldest, newest) if len(rows)] or [newest]
        return self.ids(), parts[0] if len(parts) == 1 else np.concatenate(parts)

    def search(self, vector: ArrayLike, k: int, allowed: ArrayLike | None = None) -> Found:
        """Return the `k` nearest vectors, as `VectorIndex.search` does."""
        if k < 1:
            raise ValueError(f"k must be at least 1, is {k}")
        query = np.ascontiguousarray(vector, np.float32).reshape(1, -1)
        got, want = query.shape[1], self.delta.matrix.shape[1]
        if got != want:
            message = f"vector has {got} dimensions, index has {want}"
            raise DimensionMismatchError(message, got=got, want=want)
        only = None if allowed is None else np.asarray(allowed, np.int64)
        old_ids, old_scores = self.base.search(query, k, self._wanted(only))
        new_ids, new_scores = self.delta.search(query, k, only)
        ids, scores = np.concatenate([old_ids, new_ids]), np.concatenate([old_scores, new_scores])
        best = np.lexsort((ids, -scores))[:k]
        return Found(ids[best], scores[best])

    def without_base(self, positions: NDArray[np.intp]) -> Self:
        """Return this view with the base's rows at `positions` dead."""
        if not len(positions):
            return self
        live = self.base_live.copy()
        live[positions] = False
        dead_count = len(live) - int(np.count_nonzero(live))
        return replace(self, base_live=live, dead_count=dead_count)

    def _wanted(self, allowed: NDArray[np.int64] | None) -> NDArray[np.bool_] | None:
        if allowed is None:
            return self.base_live if self.dead_count else None
        wanted = np.zeros(len(self.base_live), np.bool_)
        wanted[self.base.positions(allowed)] = True
        return wanted & self.base_live
