"""What the properties of this room are tried on."""

import numpy as np
from hypothesis import strategies as st

from libs.resilience.distribution import Distribution
from libs.resilience.grid import BUCKETS, NEVER, REPRESENTATIVES_S

shares = st.floats(0, 1)
times = st.floats(0, 130)
representatives = st.integers(0, NEVER - 1).map(lambda at: float(REPRESENTATIVES_S[at]))


def _distribution(weights: dict[int, float]) -> Distribution:
    masses = np.zeros(BUCKETS)
    masses[list(weights)] = list(weights.values())
    return Distribution.of_masses(masses)


distributions = st.dictionaries(
    st.integers(0, NEVER), st.floats(1e-3, 1), min_size=1, max_size=20
).map(_distribution)
