"""An upper confidence bound on a share of which few cases were seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# One-sided 95 %.
_Z = 1.6449
# Raises the approximation to where it is never below the exact bound.
_SAFETY = 1.011
Numbers = NDArray[np.float64]


def upper_bound(wrong: Numbers, looks: Numbers) -> Numbers:
    """Return the share that the true one is below, with 95 % confidence, in [0, 1].

    The upper limit of a Poisson mean over the number of looks: the 95th percentile of a
    gamma distribution of shape `wrong + 1` (Garwood, Biometrika 28, 1936), by the
    approximation of Wilson and Hilferty (PNAS 17, 1931), which is within 1.1 % of it.
    For small shares it is Clopper and Pearson's limit, else above it. Neither number
    need be whole.
    """
    shape = wrong + 1.0
    root = 1.0 - 1.0 / (9.0 * shape) + _Z / (3.0 * np.sqrt(shape))
    return np.minimum(1.0, _SAFETY * shape * root**3 / np.maximum(looks, 1e-9))
