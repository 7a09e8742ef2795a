"""The simulated provider: what it was asked, and how it is to behave."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from tests.support.provider.behaviour import Behaviour, Delays
from tests.support.provider.calls import Call
from tests.support.provider.connection import Connection
from tests.support.provider.prefixes import AutomaticCache, PrefixCache, Reading, Usage, miss_reason


class Provider:
    """A provider that behaves as told; `behave` and `next_behave` may be called at any time.

    Attributes:
        url: where it is, once it runs.
        behaviour: how it behaves.
        calls: every request so far.
        prefixes: the prompt cache of messages.
        automatic: that of chat completions.
        says: what it writes to a request of messages, if that is not None.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        seed: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.calls: list[Call] = []
        self.url = ""
        self.says: Callable[[Any], str | None] = lambda _: None
        self.delays = Delays(seed)
        self.prefixes = PrefixCache(clock, self._minimum_tokens)
        self.automatic = AutomaticCache(clock)
        self._ids: dict[str, Any] = {}
        self._next: list[Behaviour] = []
        self._of_models: dict[str, Behaviour] = {}
        self._connections: set[Connection] = set()
        self._changed = asyncio.Event()

    def _minimum_tokens(self, model: str) -> int:
        return self.behaviour.minimum_tokens(model)

    def behave(self, **changes: Any) -> None:
        """Change how requests from now on are answered."""
        self.behaviour = self.behaviour.changed(changes)

    def next_behave(self, **changes: Any) -> None:
        """Answer one request otherwise: the next one that nothing else was said for."""
        self._next.append(self.behaviour.changed(changes))

    def behave_for(self, model: str, **changes: Any) -> None:
        """Answer requests for one model otherwise from now on."""
        self._of_models[model] = self.behaviour.changed(changes)

    @property
    def in_flight(self) -> int:
        """Requests that are under way."""
        return sum(call.ended_s is None for call in self.calls)

    def outcomes(self) -> list[str]:
        """Return the outcome of each request, in order."""
        return [call.outcome for call in self.calls]

    async def until_asked(self, number: int = 1) -> Call:
        """Wait for request `number`, and return it."""
        while len(self.calls) < number:
            self._changed.clear()
            await self._changed.wait()
        return self.calls[number - 1]

    async def until(self, number: int, outcome: str) -> Call:
        """Wait until request `number` has ended so, and return it."""
        while len(self.calls) < number or not self.calls[number - 1].outcome:
            self._changed.clear()
            await self._changed.wait()
        call = self.calls[number - 1]
        assert call.outcome == outcome, f"request {number} ended {call.outcome}"
        return call

    async def until_text(self, number: int = 1) -> Call:
        """Wait until some text of request `number` was sent, and return it."""
        while len(self.calls) < number or self.calls[number - 1].first_text_s is None:
            self._changed.clear()
            await self._changed.wait()
        return self.calls[number - 1]

    def changed(self) -> None:
        """Wake those who wait for something to happen."""
        self._changed.set()

    def begin(self, body: bytes, headers: dict[str, str]) -> tuple[Call, Behaviour]:
        """Count a request, and say how to answer it."""
        call = Call(len(self.calls) + 1, body, time.monotonic(), headers=headers)
        self.calls.append(call)
        self.changed()
        if self._next:
            return call, self._next.pop(0)
        if self._of_models:
            return call, self._of_models.get(json.loads(body)["model"], self.behaviour)
        return call, self.behaviour

    def read(self, call: Call, request: Any) -> Reading:
        """Look a request's prompt up in the cache, and diagnose a miss if that is asked for."""
        reading = self.prefixes.read(request)
        call.usage = reading.usage
        if "diagnostics" in request:
            call.miss_reason = self._diagnosis(request, reading.usage)
            self._ids[call.message_id] = request
        return reading

    def _diagnosis(self, request: Any, usage: Usage) -> dict[str, Any] | None:
        previous = (request["diagnostics"] or {}).get("previous_message_id")
        if previous is None or usage.read:
            return None
        if previous not in self._ids:
            return {"type": "previous_message_not_found"}
        if not (reason := miss_reason(self._ids[previous], request)):
            return {"type": "unavailable"}
        return {"type": reason, "cache_missed_input_tokens": usage.tokens}

    def stats(self) -> dict[str, Any]:
        """Return the counts as JSON."""
        outcomes = self.outcomes()
        counts = {each: outcomes.count(each) for each in sorted(set(outcomes) - {""})}
        calls = [
            {key: value for key, value in asdict(call).items() if key not in ("body", "headers")}
            for call in self.calls
        ]
        return {"requests": len(self.calls), "in_flight": self.in_flight, **counts, "calls": calls}

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[Provider]:
        """Listen on loopback until the block is left."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for connection in list(self._connections):
                await connection.close()

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
