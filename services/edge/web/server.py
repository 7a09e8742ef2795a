"""From a socket to an HTTP server that drains when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Generator

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from libs.config import ConfigError
from services.edge.live.protocol import LiveProtocol
from services.edge.web.front import SOCKET

# What the system holds of a response that its reader does not take; Linux reserves twice
# as much. Without it that would grow to megabytes for each reader that is slow.
_SEND_BUFFER_BYTES = 128 * 1024
# In which a connection must have sent a request's head: who sends none must not keep a place.
_HEAD_S = 30.0


class HttpServer(uvicorn.Server):
    """A server whose signals are someone else's, so that its process ends with status 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave all signals alone; the base class would raise them again at the end."""
        yield


class _Protocol(H11Protocol):
    """Shows each request the connection that it came on, and drops who sends none."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the connection where the request's scope will have it."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, SOCKET: transport}
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Take the next bytes."""
        super().data_received(data)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone."""
        self._forget_head()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        """Drop the connection unless the head of a request comes whole; uvicorn would wait."""
        if self.conn.their_state is not h11.IDLE:
            self._forget_head()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_S, self.transport.abort)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def make_server(
    app: ASGIApp, *, grace_s: float, ping_every_s: float = 15.0, max_message_bytes: int = 4096
) -> HttpServer:
    """Return a server.

    Args:
        app: what it serves.
        grace_s: seconds that its requests get to finish once it must end.
        ping_every_s: seconds between pings on a WebSocket; a peer that has not answered after
            as many is cut off.
        max_message_bytes: the longest message that a WebSocket may send here.
    """
    config = uvicorn.Config(
        app,
        # Not httptools, which sets headers no limit.
        http=_Protocol,
        ws=LiveProtocol,
        ws_max_size=max_message_bytes,
        ws_ping_interval=ping_every_s,
        ws_ping_timeout=ping_every_s,
        # It would take tens of kilobytes for each socket, and its messages are short.
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=math.ceil(grace_s),
    )
    return HttpServer(config)


def bind(address: str, *, silent_s: float = 30.0) -> socket.socket:
    """Return a socket that listens on `host:port`.

    Args:
        address: where to listen.
        silent_s: seconds after which a connection ends whose peer confirms nothing of what
            it is sent: it is gone, or takes nothing.

    Raises:
        ConfigError: the address is not of that form, or cannot be had.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, _port(port)), family=family)
    except (OSError, ValueError) as error:
        raise ConfigError(f"address {address!r} cannot be listened on: {error}") from error
    # Connections have what the socket has that they were accepted on. asyncio sets this one only
    # where a socket names its protocol, which one of `create_server` does not: then the second
    # write of each response waits 40 ms for the peer to confirm the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        timeout_ms = round(silent_s * 1e3)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
    return listening


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port < 2**16:
        raise ValueError("the port must be 0 to 65535")
    return port


async def serve_until(
    stopping: asyncio.Event,
    server: HttpServer,
    listening: socket.socket,
    drain: Callable[[], object],
    drain_s: float,
) -> None:
    """Serve until `stopping` is set; then call `drain`, wait `drain_s` seconds, and finish."""
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        drain()
        await asyncio.sleep(drain_s)
        server.should_exit = True
    stop.cancel()
    await serving
