"""Where vectors come from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from libs.budget import current_budget
from libs.clients.embedding import EmbeddingClient
from libs.errors import BudgetExhaustedError, DependencyUnavailableError, MeshError
from libs.resilience import background
from libs.values.embedding import Embeddings

# Texts that one call takes; small enough that a message stays far below its limit.
TEXTS_PER_CALL = 512
# More than any model here reads of a text, less than the embedding service takes.
READ_CHARACTERS = 8_000
RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Vectors:
    """L2-normalised vectors of one model.

    Attributes:
        matrix: float32, one row a text.
        fingerprint: fingerprint of the model; empty if there are no rows.
    """

    matrix: NDArray[np.float32]
    fingerprint: str


class Embedder(Protocol):
    """Makes vectors of texts."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return a vector for each text.

        Raises:
            DependencyUnavailableError: vectors cannot be made now.
            BudgetExhaustedError: the caller's time ended first.
        """
        ...


class ServiceEmbedder:
    """Asks the embedding service, behind everybody who waits for an answer."""

    def __init__(self, client: EmbeddingClient, *, stall_s: float) -> None:
        """Ask `client`; one that sends nothing for `stall_s` is taken for dead."""
        self._client = client
        self._stall_s = stall_s

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return a vector for each text."""
        try:
            return await self._embed([text[:READ_CHARACTERS] for text in texts])
        except TimeoutError as error:
            raise _unavailable(f"nothing came for {self._stall_s} s") from error
        except MeshError as error:
            # The call has no limit but the caller's time, of which some milliseconds are kept
            # for the reply: what is left of it says nothing.
            if current_budget() is not None and isinstance(error, BudgetExhaustedError):
                raise
            raise _unavailable(str(error)) from error

    async def _embed(self, texts: Sequence[str]) -> Vectors:
        blocks: list[Embeddings] = []
        for first in range(0, len(texts), TEXTS_PER_CALL):
            blocks += await self._blocks(texts[first : first + TEXTS_PER_CALL])
        if not blocks:
            return Vectors(np.empty((0, 0), np.float32), "")
        if len({(block.fingerprint, block.dimensions) for block in blocks}) > 1:
            raise _unavailable("the model changed while texts were embedded")
        numbers = np.frombuffer(b"".join(block.vectors for block in blocks), "<f4")
        matrix = numbers.astype(np.float32).reshape(-1, blocks[0].dimensions)
        if len(matrix) != len(texts) or not np.isfinite(matrix).all():
            raise _unavailable("the vectors are not whole")
        return Vectors(matrix, blocks[0].fingerprint)

    async def _blocks(self, texts: Sequence[str]) -> list[Embeddings]:
        blocks = []
        loop = asyncio.get_running_loop()
        with background():
            async with (
                asyncio.timeout(self._stall_s) as stall,
                self._client.stream(texts) as answers,
            ):
                async for block in answers:
                    blocks.append(block)
                    stall.reschedule(loop.time() + self._stall_s)
        return blocks


def _unavailable(why: str) -> DependencyUnavailableError:
    return DependencyUnavailableError(
        f"vectors cannot be made now: {why}",
        retry_after_s=RETRY_AFTER_S,
        dependency="embedding",
    )
