"""Gives stored questions vectors of the model that runs now, after another one ran before.

Vectors of two models never compare, so that after a change of the model no stored answer
would be found by meaning until it was written anew.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from libs.errors import MeshError
from libs.resilience.priority import be_background
from libs.values.embedding import Embeddings, ModelInfo
from services.cache.entry import Entry
from services.cache.replica import Replica
from services.cache.store import EntryStore

# Looks at the model in a row that must agree: while one is rolled out, two answer in turn.
_LOOKS = 3
_BATCH_COUNT = 16
_LIMIT_S = 5.0
# How long one replica renews without another beginning, in seconds.
_LEASE_S = 30.0
_LOG = logging.getLogger(__name__)


class Embedder(Protocol):
    """What makes vectors: a client of the embedding service."""

    async def embed(self, texts: Sequence[str], *, limit_s: float | None = None) -> Embeddings:
        """Return the vectors of texts."""

    async def model(self, *, limit_s: float | None = None) -> ModelInfo:
        """Return what the model is."""


class Renewal:
    """Embeds anew what was embedded by another model, behind all other calls."""

    def __init__(
        self, store: EntryStore, replica: Replica, embedder: Embedder, *, every_s: float
    ) -> None:
        """Renew entries of `store` that `replica` holds.

        Args:
            store: the answers; its client is patient.
            replica: whose index says which model each vector is of.
            embedder: the model that runs now.
            every_s: how long after one look at the model the next follows.
        """
        self._store = store
        self._replica = replica
        self._embedder = embedder
        self._every_s = every_s
        self._name = secrets.token_hex(8)
        self._seen: list[str] = []

    async def follow(self) -> None:
        """Look at the model, and renew what is of another, until cancelled."""
        be_background()
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.look()
            except MeshError as error:
                _LOG.debug("no look at the model of meanings: %s", error)
            except Exception:  # noqa: BLE001 - the outer edge of a task
                _LOG.exception("renewing vectors failed")

    async def look(self) -> int:
        """Renew once the same model was seen a few times; return how many were.

        Raises:
            MeshError: the model or the store does not answer.
        """
        fingerprint = (await self._embedder.model(limit_s=_LIMIT_S)).fingerprint
        self._seen = [*self._seen, fingerprint][-_LOOKS:]
        if self._seen != [fingerprint] * _LOOKS:
            return 0
        renewed = 0
        for tenant_id, keys in self._replica.index.of_other_models(fingerprint).items():
            for start in range(0, len(keys), _BATCH_COUNT):
                if not await self._store.claim("renewal", self._name, _LEASE_S):
                    return renewed
                renewed += await self._renewed(tenant_id, keys[start : start + _BATCH_COUNT])
        if renewed:
            _LOG.info("gave %d stored questions vectors of %s", renewed, fingerprint)
        return renewed

    async def _renewed(self, tenant_id: str, keys: Sequence[str]) -> int:
        found = await self._store.many(tenant_id, keys)
        entries = [each for each in found if isinstance(each, Entry)]
        if not entries:
            return 0
        texts = [entry.question for entry in entries]
        vectors = await self._embedder.embed(texts, limit_s=_LIMIT_S)
        return await self._put_back(_with_vectors(entries, vectors))

    async def _put_back(self, entries: Iterable[Entry]) -> int:
        renewed = 0
        for entry in entries:
            if await self._store.renew(entry):
                self._replica.index.put([entry])
                renewed += 1
        return renewed


def _with_vectors(entries: Sequence[Entry], vectors: Embeddings) -> list[Entry]:
    fingerprint = vectors.fingerprint
    return [
        replace(entry, vector=vectors[number], embedding_fingerprint=fingerprint)
        for number, entry in enumerate(entries)
    ]
