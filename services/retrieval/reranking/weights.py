"""What was fitted, as the package ships it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from services.retrieval.reranking.features import NAMES

_FILE = "data/rerank.json"


class RerankDataError(ValueError):
    """The data that ships with the package is not what this code was fitted with."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A linear model: the likeliest passage has the largest weighted sum.

    Attributes:
        values: one of each feature.
    """

    values: NDArray[np.float64]

    @classmethod
    def shipped(cls) -> Self:
        """Return what the package ships.

        Raises:
            RerankDataError: it is of other features.
        """
        text = files("services.retrieval.reranking").joinpath(_FILE).read_text("utf-8")
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Return the weights in `data`.

        Raises:
            RerankDataError: it is of other features.
        """
        if data.get("features") != list(NAMES):
            raise RerankDataError(f"the weights are of other features than {', '.join(NAMES)}")
        return cls(np.array(data["weights"], np.float64))

    def scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a score for each row; they compare within one question only."""
        return rows @ self.values
