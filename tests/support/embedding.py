"""An engine whose runs a test lets through one by one."""

from __future__ import annotations

import asyncio
import hashlib
import queue
from collections.abc import Sequence

from services.embedding.engine import Model

MODEL = Model("fake", "fake-fingerprint", dimensions=8, languages=("en",), max_tokens=32)


def vector_of(text: str) -> bytes:
    """The vector that the engine gives `text`."""
    return hashlib.sha256(text.encode()).digest()


class GatedEngine:
    """Says when a run has begun, and ends it when the test says so."""

    model = MODEL

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun: asyncio.Queue[list[str]] = asyncio.Queue()
        self._gate: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        self._loop.call_soon_threadsafe(self._begun.put_nowait, list(texts))
        error = self._gate.get(timeout=30)
        if error is not None:
            raise error
        return [vector_of(text) for text in texts]

    async def begun(self) -> list[str]:
        """Wait for the next run to begin and return its texts."""
        return await asyncio.wait_for(self._begun.get(), 30)

    def is_idle(self) -> bool:
        """True if no run has begun that the test does not know of."""
        return self._begun.empty()

    def end_run(self, error: Exception | None = None) -> None:
        """Let one run end, now or when it begins."""
        self._gate.put(error)
