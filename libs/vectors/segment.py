"""A sealed segment: vectors that are searched and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

# HNSW as its authors advise for recall near 1 in some hundred dimensions (Malkov & Yashunin,
# "Efficient and robust approximate nearest neighbor search", TPAMI 42(4), 2020).
LINKS_COUNT = 32
BUILD_BREADTH = 128
SEARCH_BREADTH = 128
# A graph walked for few wanted rows visits mostly unwanted ones; below this share of the
# segment looking at each wanted row is both exact and quicker.
GRAPH_MIN_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Segment:
    """Vectors in the order of their ids, with a graph over them where there are many.

    Attributes:
        ids: int64, ascending.
        flat: the vectors, searched exactly.
        graph: the same vectors as an HNSW graph, or None.
        breadth: how many rows of the graph a search keeps in view: more find more, and take
            longer.
    """

    ids: NDArray[np.int64]
    flat: Any
    graph: Any | None
    breadth: int = SEARCH_BREADTH

    @classmethod
    def sealed(
        cls,
        ids: NDArray[np.int64],
        matrix: NDArray[np.float32],
        *,
        graph: bool,
        threads: int,
        breadth: int = SEARCH_BREADTH,
    ) -> Self:
        """Build a segment of rows in any order; a graph takes about 0.1 ms a row and thread."""
        ids, rows = ids.copy(), matrix
        if not (np.diff(ids) > 0).all():
            order = np.argsort(ids)
            ids, rows = ids[order], np.ascontiguousarray(matrix[order])
        if not graph:
            flat = faiss.IndexFlatIP(matrix.shape[1])
            flat.add(rows)
            return cls(ids, flat, None, breadth)
        # OpenMP keeps this number per thread, so it is set by the one that builds.
        faiss.omp_set_num_threads(threads)
        index = faiss.IndexHNSWFlat(matrix.shape[1], LINKS_COUNT, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = BUILD_BREADTH
        index.add(rows)
        return cls(ids, faiss.downcast_index(index.storage), index, breadth)

    def vectors(self) -> NDArray[np.float32]:
        """Return a copy of all rows, in the order of `ids`."""
        copy: NDArray[np.float32] = self.flat.reconstruct_n(0, len(self.ids))
        return copy

    def positions(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return where those of `ids` stand that are here; others are left out."""
        if not len(self.ids):
            return np.empty(0, np.intp)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        here: NDArray[np.intp] = at[self.ids[at] == ids]
        return here

    def search(
        self, vector: NDArray[np.float32], k: int, wanted: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return up to `k` of the `wanted` rows nearest to `vector`, best first.

        Args:
            vector: one row, shape (1, dimensions).
            k: at least 1.
            wanted: one flag a row; None wants all.

        Returns:
            Ids and inner products; fewer than `k` only if fewer are wanted.
        """
        total = len(self.ids) if wanted is None else int(np.count_nonzero(wanted))
        k = min(k, total)
        if not k:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        bits = None if wanted is None else np.packbits(wanted, bitorder="little")
        if self.graph is not None and total >= GRAPH_MIN_SHARE * len(self.ids):
            breadth = max(self.breadth, 2 * k)
            parameters = faiss.SearchParametersHNSW(efSearch=breadth)  # type: ignore[attr-defined] # the stubs are partial
            found = self._ask(self.graph, parameters, vector, k, bits)
            if len(found[0]) == k:
                return found
        return self._ask(self.flat, faiss.SearchParameters(), vector, k, bits)

    def _ask(
        self,
        index: Any,
        parameters: Any,
        vector: NDArray[np.float32],
        k: int,
        bits: NDArray[np.uint8] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if bits is not None:
            # Lives as long as `bits`, whose memory it reads.
            selector = faiss.IDSelectorBitmap(len(self.ids), faiss.swig_ptr(bits))
            parameters.sel = selector
        scores, rows = index.search(vector, k, params=parameters)
        found = rows[0] >= 0
        return self.ids[rows[0][found]], scores[0][found]
