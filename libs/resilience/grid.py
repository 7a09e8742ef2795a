"""The one grid of times: buckets that grow by a constant factor.

All sketches and distributions share it, so that they can be added, convolved and compared
bucket by bucket. A value and its bucket's representative differ by at most 2.5 %, whatever
its size (Masson, Rim & Lee, "DDSketch", PVLDB 12(12), 2019, for the idea).
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

# Below a tenth of a millisecond an event loop's own noise is larger than what is measured.
LEAST_S = 1e-4
# No policy waits longer; what takes longer counts as never.
MOST_S = 120.0
# Makes the growth just under 5 %: 1.04998.
STEPS = 287
GROWTH = (MOST_S / LEAST_S) ** (1 / STEPS)

# Bucket `i` holds what is above `EDGES[i - 1]` and not above `EDGES[i]`. Bucket 0 holds all
# that is not above `LEAST_S`, the bucket `NEVER` all that is above `MOST_S`.
EDGES: tuple[float, ...] = (*(LEAST_S * GROWTH**step for step in range(STEPS)), MOST_S)
NEVER = STEPS + 1
BUCKETS = STEPS + 2

# What a value in a bucket is taken for: the geometric middle, and zero for the first, so that
# a step that takes no time adds none.
_edges = np.array(EDGES)
REPRESENTATIVES_S: NDArray[np.float64] = np.concatenate(([0.0], np.sqrt(_edges[:-1] * _edges[1:])))
REPRESENTATIVES_S.setflags(write=False)


def index(seconds: float) -> int:
    """Return the bucket of a time, in `range(BUCKETS)`; a negative one is in the first.

    The grid is fixed, so bisection takes nine comparisons, and is right on the edges, where
    a logarithm is not.
    """
    return bisect_left(EDGES, seconds)
