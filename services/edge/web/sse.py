"""Server-sent events: how they look, and a stream of them that fits its reader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.types import Send

from services.edge.web.presence import CallerLeftError

MEDIA_TYPE = "text/event-stream"
# OpenAPI 3.1 has no word for a stream. Tools that know of them take the schema of this media
# type to be that of one event, its fields as members.
SCHEMA = {
    "type": "object",
    "description": "One of the server-sent events; comments may stand between them.",
    "required": ["event", "data"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "description": "Its number; not every event has one."},
        "event": {"type": "string", "description": "Its name."},
        "data": {"type": "string", "description": "What it says, as JSON."},
        "retry": {"type": "integer", "description": "Milliseconds until one comes again."},
    },
}
_PING = b": ping\n\n"
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # Proxies that compress or collect a stream hold its events back.
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
# Made once: `json.dumps` would make one for each frame.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# Frames come fast if more than this many a second do: nobody reads so many updates.
_FAST_PER_S = 50.0
_GROWTH = 1.5


class ReaderTooSlowError(CallerLeftError):
    """A reader took too little for too long, and was cut off."""


class Socket(Protocol):
    """What is asked of the connection below a stream."""

    def get_write_buffer_size(self) -> int:
        """Return the bytes that the system has not taken yet."""

    def abort(self) -> None:
        """Close it at once; what it has not taken is lost."""


@dataclass(frozen=True, slots=True)
class Flow:
    """How a stream is written.

    Attributes:
        least_gap_s: seconds between two writes while the reader keeps up and frames are few.
        most_gap_s: the same while the reader is behind, or frames are many.
        buffer_bytes: bytes that may wait for a reader; then its frames are waited for.
        stall_s: seconds in which a reader that is behind must take something; else it is cut.
    """

    least_gap_s: float = 0.020
    most_gap_s: float = 0.100
    buffer_bytes: int = 256 * 1024
    stall_s: float = 30.0


DEFAULT_FLOW = Flow()


def frame(name: str, members: dict[str, Any], sequence: int | None = None) -> bytes:
    """Return one event as bytes; JSON leaves no line break in it."""
    head = "" if sequence is None else f"id: {sequence}\n"
    return f"{head}event: {name}\ndata: {_encode(members)}\n\n".encode()


class EventStream:
    """A response that grows; it begins with the first frame.

    Frames are gathered and go to the socket together: the first at once, and whatever is
    urgent; the others no sooner than a gap after the write before, which is short while the
    reader keeps up and text is slow, and longer when the reader is behind or text is fast.
    Frames that share a write stay frames: each keeps its own id, so that a reader that is
    cut between any two of them can resume at exactly that point.

    Attributes:
        begun: True once there is a frame, so that an error can only be an event.
        is_started: True once the headers are sent.
        headers: more headers of the response; of use until then.
        retry_ms: milliseconds after which a reader that lost the connection should come
            again; 0 says nothing. Of use until the first frame.
        gap_s: seconds that the next write keeps to the last.
        is_cut: True once the reader was found to be too slow.
    """

    def __init__(self, send: Send, socket: Socket | None = None, flow: Flow = DEFAULT_FLOW) -> None:
        """Write by `send`; a `socket` tells whether the reader is behind."""
        self._send = send
        self._socket = socket
        self._flow = flow
        self._loop = asyncio.get_running_loop()
        self._last_s = self._loop.time()
        self.gap_s = flow.least_gap_s
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._is_urgent = False
        self._woken = asyncio.Event()
        self._roomy = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._is_closing = False
        self.begun = False
        self.is_started = False
        self.headers: dict[str, str] = {}
        self.retry_ms = 0
        self.is_cut = False

    async def write(self, data: bytes, *, urgent: bool = False) -> None:
        """Send a frame when it is due, and wait if too much waits already.

        Inside `kept_awake` this returns before the frame is sent; outside it is sent now.

        Raises:
            ReaderTooSlowError: the reader was cut off.
        """
        self.put(data, urgent=urgent)
        if self._keeper is None:
            await self._flush()
            return
        while self._pending_bytes > self._flow.buffer_bytes and not self._keeper.done():
            self._roomy.clear()
            self._is_urgent = True
            self._woken.set()
            await self._roomy.wait()

    def put(self, data: bytes, *, urgent: bool = False) -> None:
        """Add a frame to what is sent next; for whoever cannot wait.

        Raises:
            ReaderTooSlowError: the reader was cut off.
        """
        if self.is_cut:
            raise ReaderTooSlowError
        if self.retry_ms:
            # Once, and as a field of the first frame: a reader takes it for no event.
            data, self.retry_ms = b"retry: %d\n" % self.retry_ms + data, 0
        self._pending.append(data)
        self._pending_bytes += len(data)
        if urgent or not self.begun:
            self.begun = True
            self._is_urgent = True
            self._woken.set()
        elif len(self._pending) == 1:
            self._woken.set()

    async def end(self) -> None:
        """Send what waits, and end the response."""
        if self.is_cut:
            raise ReaderTooSlowError
        await self._flush(is_last=True)

    @asynccontextmanager
    async def kept_awake(self, every_s: float) -> AsyncIterator[None]:
        """Send frames as they are due, and a comment after each `every_s` seconds of silence.

        Proxies cut what is silent. On the way out what waits is left to `write` and `end`.
        """
        self._is_closing = False
        self._keeper = keeper = asyncio.create_task(self._keep(every_s))
        try:
            yield
        except Exception:
            await self._let_finish(keeper)
            raise
        else:
            await self._let_finish(keeper)
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            self._keeper = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    async def _let_finish(self, keeper: asyncio.Task[None]) -> None:
        """Let the keeper end between two writes: a frame must not be lost halfway."""
        self._is_closing = True
        self._woken.set()
        await asyncio.wait({keeper})

    async def _keep(self, every_s: float) -> None:
        while True:
            while not self._is_closing and (due_s := self._due_s(every_s)) > self._loop.time():
                self._ring_at(due_s)
                self._woken.clear()
                await self._woken.wait()
            if self._is_closing or self.is_cut:
                return
            if not self._pending:
                self._pending.append(_PING)
            await self._flush()

    def _due_s(self, every_s: float) -> float:
        """Return when something is to be sent, in seconds of the loop."""
        if not self._pending:
            return self._last_s + every_s
        return 0.0 if self._is_urgent else self._last_s + self.gap_s

    def _ring_at(self, due_s: float) -> None:
        """Wake the keeper then, or sooner: a timer is set anew only where it would be late."""
        if self._timer is not None:
            if self._timer.when() <= due_s:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._woken.set()

    async def _flush(self, *, is_last: bool = False) -> None:
        data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._adapt(len(self._pending))
        self._pending.clear()
        self._pending_bytes, self._is_urgent = 0, False
        try:
            if self._is_behind():
                async with asyncio.timeout(self._flow.stall_s):
                    await self._send_body(data, is_last=is_last)
            else:
                await self._send_body(data, is_last=is_last)
        except TimeoutError:
            self._cut()
            raise ReaderTooSlowError from None
        finally:
            self._last_s = self._loop.time()
            self._roomy.set()

    async def _send_body(self, data: bytes, *, is_last: bool) -> None:
        if not self.is_started:
            self.begun = self.is_started = True
            more = [(name.encode(), value.encode()) for name, value in self.headers.items()]
            start = {"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *more]}
            await self._send(start)
        await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})

    def _adapt(self, count: int) -> None:
        """Choose the gap to the next write by what this one has to send."""
        after_s = self._loop.time() - self._last_s
        is_fast = count > 1 and count > _FAST_PER_S * after_s
        gap_s = self.gap_s * _GROWTH if is_fast or self._lags() else self.gap_s / _GROWTH
        self.gap_s = min(max(gap_s, self._flow.least_gap_s), self._flow.most_gap_s)

    def _lags(self) -> bool:
        return self._socket is not None and self._socket.get_write_buffer_size() > 0

    def _is_behind(self) -> bool:
        """Return whether sending may have to wait; without a socket nobody knows."""
        return self._socket is None or self._lags()

    def _cut(self) -> None:
        # To close would be to wait until the reader has taken what it does not take.
        self.is_cut = True
        if self._socket is not None:
            self._socket.abort()
