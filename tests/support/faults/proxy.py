"""A TCP proxy that is a bad network, as told."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

_CHUNK_BYTES = 65536
_TRICKLE_EVERY_S = 0.05
# Closes with RST instead of FIN.
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Network:
    """How bytes travel, in both directions.

    Attributes:
        delay_s: how long they are on the way.
        jitter_s: how much longer at most; the order of bytes stays.
        drop_rate: share of pieces, as they are read, that end their connection; in [0, 1].
        trickle_bytes_s: bytes a second and direction; 0 sets no limit.
        is_black_hole: True to let nothing through and say nothing; what came meanwhile
            goes on afterwards, as TCP sends again what was lost.
        refuses: True to close new connections at once.
        idle_s: seconds without a byte in either direction that end a connection; 0 ends none.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    drop_rate: float = 0.0
    trickle_bytes_s: float = 0.0
    is_black_hole: bool = False
    refuses: bool = False
    idle_s: float = 0.0


class Proxy:
    """Passes bytes between those who connect to it and one server.

    The same seed draws the same jitter and the same drops.
    """

    def __init__(self, target: str, *, seed: int = 0) -> None:
        """Stand before `target`, `host:port`."""
        self._target = target
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._network = Network()
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""

    def behave(self, **changes: Any) -> None:
        """Change the network from now on; what is on its way already is not affected."""
        self._network = replace(self._network, **changes)
        (self._open.clear if self._network.is_black_hole else self._open.set)()

    def reset(self) -> None:
        """Break all connections with RST."""
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Proxy]:
        """Listen until the block is left; `address` says where."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.reset()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Cancelled only when the proxy ends; the server would log it as an error.
        with suppress(asyncio.CancelledError, OSError):
            await self._join(reader, writer)
        writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._network.refuses:
            return
        host, _, port = self._target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            busy = asyncio.Event()
            ways = [self._pass(reader, far_writer, busy), self._pass(far_reader, writer, busy)]
            tasks = [asyncio.create_task(way) for way in (*ways, self._idle(busy))]
            await _first_of(tasks)
        finally:
            self._writers -= ends
            far_writer.transport.abort()

    async def _idle(self, busy: asyncio.Event) -> None:
        """Return once nothing has passed for as long as the network allows."""
        while True:
            busy.clear()
            idle_s = self._network.idle_s
            waiting = asyncio.create_task(busy.wait())
            await asyncio.wait({waiting}, timeout=idle_s or None)
            waiting.cancel()
            if idle_s and not busy.is_set():
                return

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, busy: asyncio.Event
    ) -> None:
        """Pass bytes one way, each piece when it is due, until either end closes."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)
        sending = asyncio.create_task(self._send(pieces, writer))
        try:
            while data := await reader.read(_CHUNK_BYTES):
                busy.set()
                network = self._network
                if self._random.random() < network.drop_rate:
                    return
                late_s = network.delay_s + network.jitter_s * self._random.random()
                await pieces.put((asyncio.get_running_loop().time() + late_s, data))
            await pieces.put((0.0, b""))
            await asyncio.wait({sending})
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(
        self, pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due_s, data = await pieces.get()
            if not data:
                return
            await asyncio.sleep(due_s - asyncio.get_running_loop().time())
            while data:
                await self._open.wait()
                rate = self._network.trickle_bytes_s
                size = max(1, int(rate * _TRICKLE_EVERY_S)) if rate else len(data)
                writer.write(data[:size])
                await writer.drain()
                data = data[size:]
                if rate:
                    await asyncio.sleep(size / rate)


async def _first_of(tasks: list[asyncio.Task[None]]) -> None:
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
