"""The pieces of one answer, read ahead by a task of their own."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from types import TracebackType
from typing import Self

from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from libs.telemetry import names, span
from libs.values import TextDelta, Usage
from libs.values.generation import Prompt
from services.generation.engine import Engine, Finished, Piece


class Feed:
    """What an engine says to a prompt, waited for without ever cancelling the engine's own wait.

    An async context manager: leaving it ends the engine's work, and has ended it when it
    returns. What is read ahead is bounded by the answer's token limit.
    """

    def __init__(
        self, engine: Engine, prompt: Prompt, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._prompt = prompt
        self._clock = clock
        self._ready: deque[Piece] = deque()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._read())
        # The end of the reading must wake a waiter too, however it comes.
        self._task.add_done_callback(lambda _: self._changed.set())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            # Seen by whoever read to the end; asked for here so that asyncio does not warn.
            self._task.exception()

    async def next(self, limit_s: float) -> Piece | None:
        """Return the next piece, or None if there is none within `limit_s`.

        Raises:
            MeshError: what the engine raised, after all pieces before it.
        """
        if not self._ready and not self._task.done():
            self._changed.clear()
            await self._wait(limit_s)
        if self._ready:
            return self._ready.popleft()
        if self._task.done():
            self._task.result()
            raise RuntimeError(f"{self._engine.model.name} ended without a last piece")
        return None

    async def _wait(self, limit_s: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, limit_s)):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _read(self) -> None:
        if not self._engine.waits_for_provider:
            await self._gather(None)
            return
        model = self._engine.model
        attributes: dict[str, AttributeValue] = {
            names.GEN_AI_OPERATION: "chat",
            names.GEN_AI_PROVIDER: model.engine,
            names.GEN_AI_REQUEST_MODEL: model.name,
            names.GEN_AI_REQUEST_STREAM: True,
        }
        with span(f"chat {model.name}", attributes) as made:
            await self._gather(made)

    async def _gather(self, made: Span | None) -> None:
        started_s, is_first = self._clock(), True
        async with aclosing(self._engine.generate(self._prompt)) as pieces:
            async for piece in pieces:
                if made is not None and is_first and isinstance(piece, TextDelta):
                    made.set_attribute(names.GEN_AI_FIRST_CHUNK_S, self._clock() - started_s)
                    is_first = False
                if made is not None and isinstance(piece, Finished):
                    _describe(made, piece.usage)
                self._ready.append(piece)
                self._changed.set()
                # A burst that is all there would else be read to its end before its first
                # word could leave.
                await asyncio.sleep(0)


def _describe(made: Span, usage: Usage) -> None:
    made.set_attribute(names.GEN_AI_INPUT_TOKENS, usage.input_tokens)
    made.set_attribute(names.GEN_AI_OUTPUT_TOKENS, usage.output_tokens)
    made.set_attribute(names.GEN_AI_CACHE_READ_TOKENS, usage.cache_read_tokens)
    made.set_attribute(names.GEN_AI_CACHE_WRITE_TOKENS, usage.cache_write_tokens)
