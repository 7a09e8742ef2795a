"""Which models this deployment has, as the generation service says."""

from __future__ import annotations

import asyncio
import logging

from libs.clients.generation import GenerationClient
from libs.errors import MeshError
from libs.values import ModelTier
from libs.values.generation import Model

_LOG = logging.getLogger(__name__)
_REFRESH_S = 5.0
_RETRY_S = 0.5
_LIMIT_S = 1.0
# Until the service has spoken, a plan is made for what is always there.
_EXTRACTIVE = Model(ModelTier.EXTRACTIVE, "extractive", "extractive")


class Catalog:
    """The best model there is, kept current in the background."""

    def __init__(self, client: GenerationClient) -> None:
        self._client = client
        self._models: tuple[Model, ...] = (_EXTRACTIVE,)
        self._known = asyncio.Event()

    def best(self) -> Model:
        """Return the best model; the last one known while the service is away."""
        return self._models[0]

    def tiers(self) -> tuple[ModelTier, ...]:
        """Return the tiers there are, best first; the last ones known while it is away."""
        return tuple(model.tier for model in self._models)

    async def known(self, timeout_s: float) -> None:
        """Wait until the service has spoken once, but no longer than `timeout_s`."""
        waiting = asyncio.create_task(self._known.wait())
        await asyncio.wait({waiting}, timeout=timeout_s)
        waiting.cancel()

    async def keep_current(self) -> None:
        """Ask again and again; runs until cancelled."""
        while True:
            try:
                models = await self._client.models(limit_s=_LIMIT_S)
                if models:
                    self._models = models
                    self._known.set()
                await asyncio.sleep(_REFRESH_S)
            except MeshError as error:
                _LOG.debug("models are not known: %s", error)
                await asyncio.sleep(_RETRY_S)
