"""What trust starts from, and how it moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOT_TRUSTED = math.inf
"""A target that no probability reaches: nothing of this region is reused by meaning."""

# Steps from the shipped target to certainty, as shares of the way between them.
_WAY = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)


@dataclass(frozen=True, slots=True)
class TrustTerms:
    """The constants of trust; the defaults are what the tests and the ADR speak of.

    Attributes:
        target: the shipped target of the calibrated probability, in [0, 1).
        prior_looks: clean looks that the calibration is worth at the shipped target. With
            600 the bound starts at 0.58 %.
        prior_wrong: wrong ones among them; the calibration's figures make it 0.04 %.
        refuted_prior_looks: what is left of `prior_looks` once the looks of a region show
            that the calibration does not hold there.
        claim: the bound that the calibration stands for; above it it is refuted.
        region_looks: looks that count in a region; older ones fade.
        whole_looks: looks that count in all regions together.
        half_life_s: in which a look fades to one half, if none comes after it.
        borrowed_looks: at most so many looks at other regions are added to those at one.
        margin: a target goes down only if the bound there is below this share of what is
            allowed.
        pause_looks: looks in a region between two steps down.
    """

    target: float
    prior_looks: float = 600.0
    prior_wrong: float = 0.25
    refuted_prior_looks: float = 150.0
    claim: float = 0.01
    region_looks: float = 200.0
    whole_looks: float = 1000.0
    half_life_s: float = 7 * 86_400.0
    borrowed_looks: float = 400.0
    margin: float = 0.8
    pause_looks: float = 10.0

    def __post_init__(self) -> None:
        """Check the target.

        Raises:
            ValueError: it is not in [0, 1).
        """
        if not 0 <= self.target < 1:
            raise ValueError(f"target must be in [0, 1), is {self.target}")

    @property
    def targets(self) -> NDArray[np.float64]:
        """The targets there are, lowest first; after the last one nothing is trusted."""
        return self.target + (1 - self.target) * np.array(_WAY)

    @property
    def prior(self) -> NDArray[np.float64]:
        """Clean looks that the calibration is worth at each target.

        A probability that is calibrated is wrong the less often the higher it is: the looks
        grow as what is left to certainty shrinks, up to twentyfold.
        """
        return np.asarray(self.prior_looks / np.maximum(0.05, 1 - np.array(_WAY)))
