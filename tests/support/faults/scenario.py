"""A mesh that is as slow as a scenario of the test-bed says."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from grpc import aio

from cli.simulate.scenario import Part, Scenario
from libs.values import ModelTier

# The mesh's methods by the hop of a scenario, and after how many responses they are slowed:
# a search gives its list by words at once.
_METHODS: Mapping[str, tuple[str, int]] = {
    "EmbedTexts": ("embedding", 0),
    "SearchPassages": ("retrieval", 1),
    "GenerateText": ("text", 0),
}


class ScenarioSlowness(aio.ServerInterceptor):
    """Slows each call by what it takes in a scenario; the same seed draws the same times.

    Attributes:
        done: share of the requests that have been made, in [0, 1]: what changes, changes by it.
    """

    def __init__(self, seed: int = 0) -> None:
        """Slow nothing until there is a scenario."""
        self.done = 0.0
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._scenario: Scenario | None = None
        self._slots: asyncio.Semaphore | None = None
        self._served: dict[str, int] = {}

    def be(self, scenario: Scenario) -> None:
        """Be as slow as a scenario says from now on."""
        self._scenario = scenario
        slots = scenario.text.slots
        self._slots = asyncio.Semaphore(slots) if slots else None

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return the method's handler with its time before it."""
        handler = await continuation(handler_call_details)
        found = _METHODS.get(handler_call_details.method.rpartition("/")[2])
        if handler is None or found is None:
            return handler
        codec = handler.request_deserializer, handler.response_serializer
        if handler.unary_unary is not None:
            served = self._unary(found[0], handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(served, *codec)
        streamed = self._stream(*found, handler.unary_stream)
        return grpc.unary_stream_rpc_method_handler(streamed, *codec)

    def _unary(self, hop: str, inner: Any) -> Any:
        async def serve(request: Any, context: Any) -> Any:
            await self._take(hop, request)
            return await inner(request, context)

        return serve

    def _stream(self, hop: str, after: int, inner: Any) -> Any:
        async def serve(request: Any, context: Any) -> AsyncIterator[Any]:
            if after == 0:
                await self._take(hop, request)
            count = 0
            async for response in inner(request, context):
                yield response
                count += 1
                if count == after:
                    await self._take(hop, request)

        return serve

    async def _take(self, hop: str, request: Any) -> None:
        scenario = self._scenario
        if scenario is None:
            return
        if hop != "text":
            part = next((each for each in scenario.hops if each.hop == hop), None)
            if part is not None:
                await asyncio.sleep(self._takes_s(scenario, part))
            return
        tier = ModelTier(request.tier)
        if tier is ModelTier.EXTRACTIVE:
            return
        takes_s = self._takes_s(scenario, scenario.text)
        if tier is ModelTier.FAST:
            takes_s *= scenario.text.fast_factor
        if self._slots is None:
            await asyncio.sleep(takes_s)
            return
        async with self._slots:
            await asyncio.sleep(takes_s)

    def _takes_s(self, scenario: Scenario, part: Part) -> float:
        takes_s = self._random.lognormvariate(math.log(part.median_ms / 1e3), part.sigma)
        if self._random.random() < scenario.straggler_share:
            takes_s *= scenario.straggler_factor
        number = self._served[part.hop] = self._served.get(part.hop, -1) + 1
        for change in scenario.changes:
            if change.hop != part.hop or not change.since <= self.done < change.until:
                continue
            replica = number % getattr(part, "replicas", 1)
            if change.replica < 0 or change.replica == replica:
                takes_s *= change.factor
                # What hangs is given up by whoever waits for it.
                takes_s = 3600.0 if change.hangs else takes_s
        return takes_s
