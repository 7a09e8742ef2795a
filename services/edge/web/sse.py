"""Server-sent events: how they look, and a stream of them that is never silent for long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Send

MEDIA_TYPE = "text/event-stream"
SCHEMA = {"type": "string", "description": "Server-sent events; each has an id."}
_PING = b": ping\n\n"
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # Proxies that compress or collect a stream hold its events back.
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


def frame(name: str, members: dict[str, Any], sequence: int | None = None) -> bytes:
    """Return one event as bytes; JSON leaves no line break in it."""
    head = "" if sequence is None else f"id: {sequence}\n"
    data = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
    return f"{head}event: {name}\ndata: {data}\n\n".encode()


class EventStream:
    """A response that grows; it begins with the first frame.

    Attributes:
        begun: True once the status is sent, so that an error can only be an event.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._last_s = asyncio.get_running_loop().time()
        self._one_at_a_time = asyncio.Lock()
        self.begun = False

    async def write(self, data: bytes) -> None:
        """Send a frame, and wait if the reader is slow."""
        async with self._one_at_a_time:  # a ping may want to go out at the same moment
            if not self.begun:
                self.begun = True
                start = {"type": "http.response.start", "status": 200, "headers": _HEADERS}
                await self._send(start)
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._last_s = asyncio.get_running_loop().time()

    async def end(self) -> None:
        """End the response."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    @asynccontextmanager
    async def kept_awake(self, every_s: float) -> AsyncIterator[None]:
        """Send a comment after each `every_s` seconds without a frame, for proxies cut silence."""
        pinging = asyncio.create_task(self._ping(every_s))
        try:
            yield
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)

    async def _ping(self, every_s: float) -> None:
        while True:
            left_s = self._last_s + every_s - asyncio.get_running_loop().time()
            if left_s > 0:
                await asyncio.sleep(left_s)
            else:
                await self.write(_PING)
