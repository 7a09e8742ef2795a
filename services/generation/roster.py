"""Which engine serves which tier."""

from __future__ import annotations

from collections.abc import Iterable

from libs.errors import ModelUnavailableError
from libs.values import ModelTier
from libs.values.generation import Model
from services.generation.engine import Engine


class Roster:
    """The engines of a server, one a tier."""

    def __init__(self, engines: Iterable[Engine]) -> None:
        self._by_tier = {engine.model.tier: engine for engine in engines}

    def engine(self, tier: ModelTier) -> Engine:
        """Return the engine of a tier; of none in particular, the best there is.

        Raises:
            ModelUnavailableError: no model of that tier is configured.
        """
        if tier is ModelTier.UNSPECIFIED:
            return self._by_tier[min(self._by_tier)]
        engine = self._by_tier.get(tier)
        if engine is None:
            name = tier.name.lower()
            raise ModelUnavailableError(f"no model of tier {name} is configured", tier=name)
        return engine

    def models(self) -> tuple[Model, ...]:
        """Return the models, best first."""
        return tuple(engine.model for _, engine in sorted(self._by_tier.items()))
