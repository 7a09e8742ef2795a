"""Sees every call that the servers of a test serve; slows it or holds it, as told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc import aio

Matches = Callable[[str, Any], bool]


@dataclass(slots=True)
class Seen:
    """One call, as its server saw it; times are on the monotonic clock.

    Attributes:
        method: `package.Service/Method`.
        started_s: when its handler started.
        remaining_s: what was left of its deadline then; None if it had none.
        ended_s: when its handler had ended; None while it runs.
    """

    method: str
    started_s: float
    remaining_s: float | None
    ended_s: float | None = None

    def outlived_s(self, stalls: Stalls) -> float:
        """Return the seconds for which the handler went on after its deadline.

        Those in which nothing at all could run in this process do not count.
        """
        if self.remaining_s is None or self.ended_s is None:
            return 0.0
        end_s = self.started_s + self.remaining_s
        return max(0.0, self.ended_s - end_s - stalls.within(end_s, self.ended_s))


@dataclass(eq=False)
class Hold:
    """Keeps calls of one kind from going on.

    Attributes:
        matches: says of a method and its request whether it is held.
        after: responses of a stream that are let through before.
        count: calls that are held together before `reached` is set.
    """

    matches: Matches
    after: int = 0
    count: int = 1
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    held: int = 0

    async def keep(self) -> None:
        self.held += 1
        if self.held >= self.count:
            self.reached.set()
        await asyncio.Event().wait()


class Delays:
    """Seconds by which calls are slowed, at random; the same seed draws the same ones.

    Most calls lose some milliseconds, some lose tens, a few lose so much that whoever
    waits for them is lost.
    """

    _SCALES_S = (0.002, 0.002, 0.005, 0.010, 0.010, 0.030, 0.100, 0.500)

    def __init__(self, seed: int, times: float = 1.0) -> None:
        """Draw from a seed; all of it so many times longer."""
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._times = times

    def next(self) -> float:
        mean_s = self._times * self._random.choice(self._SCALES_S)
        return self._random.expovariate(1 / mean_s)


class Stalls:
    """Measures how long the event loop was busy with something else, or the machine was."""

    _TICK_S = 0.005

    def __init__(self) -> None:
        self._stalls: list[tuple[float, float]] = []

    @property
    def longest_s(self) -> float:
        return max((end_s - start_s for start_s, end_s in self._stalls), default=0.0)

    def within(self, start_s: float, end_s: float) -> float:
        """Return the seconds between two points in which nothing could run."""
        overlaps = (min(end_s, end) - max(start_s, start) for start, end in self._stalls)
        return sum(overlap for overlap in overlaps if overlap > 0)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Measure until the block is left."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while True:
            due_s = time.monotonic() + self._TICK_S
            await asyncio.sleep(self._TICK_S)
            if (now_s := time.monotonic()) - due_s > self._TICK_S:
                self._stalls.append((due_s, now_s))


class Traffic(aio.ServerInterceptor):
    """Stands behind the guards of all servers that it is given to."""

    def __init__(self) -> None:
        self.calls: list[Seen] = []
        self.delays: Delays | None = None
        self.is_slowed: Callable[[str], bool] = lambda _: True
        self._holds: list[Hold] = []

    @contextmanager
    def holding(self, *holds: Hold) -> Any:
        """Hold calls until the block is left; those held then stay held."""
        self._holds = list(holds)
        try:
            yield
        finally:
            self._holds = []

    def running(self) -> list[str]:
        """Return the methods of calls whose handlers have not ended."""
        return [call.method for call in self.calls if call.ended_s is None]

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method.removeprefix("/")
        if handler is None or not method.startswith("hasten."):
            return handler
        codec = handler.request_deserializer, handler.response_serializer
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(method, handler), *codec)
        return grpc.unary_stream_rpc_method_handler(self._stream(method, handler), *codec)

    def _unary(self, method: str, handler: Any) -> Any:
        async def serve(request: Any, context: Any) -> Any:
            with self._seen(method, context):
                await self._before(method, request, 0)
                response = await handler.unary_unary(request, context)
                await self._delay(method)
                return response

        return serve

    def _stream(self, method: str, handler: Any) -> Any:
        async def serve(request: Any, context: Any) -> AsyncIterator[Any]:
            with self._seen(method, context):
                responses = handler.unary_stream(request, context)
                try:
                    await self._before(method, request, 0)
                    count = 0
                    async for response in responses:
                        yield response
                        count += 1
                        await self._before(method, request, count)
                finally:
                    await responses.aclose()

        return serve

    @contextmanager
    def _seen(self, method: str, context: Any) -> Any:
        call = Seen(method, time.monotonic(), context.time_remaining())
        self.calls.append(call)
        try:
            yield
        finally:
            call.ended_s = time.monotonic()

    async def _before(self, method: str, request: Any, count: int) -> None:
        for hold in self._holds:
            if hold.after == count and hold.matches(method, request):
                await hold.keep()
        # A long stream is slowed no more than any other call.
        if count < 2:
            await self._delay(method)

    async def _delay(self, method: str) -> None:
        if self.delays is not None and self.is_slowed(method):
            await asyncio.sleep(self.delays.next())
