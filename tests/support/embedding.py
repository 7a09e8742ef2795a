"""An engine and a scorer whose runs a test lets through one by one."""

from __future__ import annotations

import asyncio
import hashlib
import queue
from collections.abc import Sequence
from typing import Any

from services.embedding.engine import Model, Pair, ScorerModel

MODEL = Model("fake", "fake-fingerprint", dimensions=8, languages=("en",), max_tokens=32)
SCORER = ScorerModel("same_answer", "fake-scorer", max_tokens=32)


def vector_of(text: str) -> bytes:
    """The vector that the engine gives `text`."""
    return hashlib.sha256(text.encode()).digest()


def score_of(pair: Pair) -> float:
    """The score that the scorer gives `pair`; float32 holds it exactly."""
    return hashlib.sha256("\n".join(pair).encode()).digest()[0] / 256


class Gate:
    """Says when a run has begun, and ends it when the test says so."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun: asyncio.Queue[list[Any]] = asyncio.Queue()
        self._gate: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def pass_through(self, items: Sequence[Any]) -> None:
        """Wait for the test; called by a run."""
        self._loop.call_soon_threadsafe(self._begun.put_nowait, list(items))
        error = self._gate.get(timeout=30)
        if error is not None:
            raise error

    async def begun(self) -> list[Any]:
        """Wait for the next run to begin and return its texts or pairs."""
        return await asyncio.wait_for(self._begun.get(), 30)

    def is_idle(self) -> bool:
        """True if no run has begun that the test does not know of."""
        return self._begun.empty()

    def end_run(self, error: Exception | None = None) -> None:
        """Let one run end, now or when it begins."""
        self._gate.put(error)


class GatedEngine(Gate):
    """An engine behind a gate."""

    model = MODEL

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        self.pass_through(texts)
        return [vector_of(text) for text in texts]

    def embed_bulk(self, texts: Sequence[str]) -> list[bytes]:
        return self.embed(texts)


class GatedScorer(Gate):
    """A scorer behind a gate."""

    model = SCORER

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        self.pass_through(pairs)
        return [score_of(pair) for pair in pairs]
