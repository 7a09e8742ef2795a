"""uvicorn's WebSocket protocol, which can also be cut off while its peer takes nothing.

Of those that uvicorn has this is `websockets-sansio`: it sends pings, does not read on while a
message is not taken, and adds one library, which tests use from the other side as well. The one
named `websockets` is its predecessor, with two tasks for each socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

CUT = "hasten.cut"
"""The extension of a scope that closes its socket at once: `cut(code, reason)`."""

Cut = Callable[[int, str], None]

# What is written stays with a peer that takes nothing; then the connection goes.
_LAST_WORDS_S = 10.0
_NOT_TEXT = 1007


class LiveProtocol(WebSocketsSansIOProtocol):
    """A WebSocket whose end does not wait for its peer."""

    def handle_connect(self, event: Any) -> None:
        """Let the application cut the socket off."""
        super().handle_connect(event)
        if hasattr(self, "scope"):  # not if the handshake was refused
            self.scope["extensions"][CUT] = self.cut  # type: ignore[assignment]

    def cut(self, code: int, reason: str) -> None:
        """Send a close frame behind what waits, and end even if the peer takes nothing more."""
        if not self.close_sent and not self.disconnected:
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.stop_keepalive()
        if self.read_paused:  # the peer's own close frame is to be seen
            self.read_paused = False
            self.transport.resume_reading()
        self._drop_later()
        # Whoever waits until the peer takes more need not.
        self.disconnected = True
        self.writable.set()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})

    def send_receive_event_to_app(self) -> None:
        """Hand a message over; one that is not UTF-8 ends the socket."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                # The base class would do the same, with a traceback in the log for each.
                self.frames = []
                self.conn.send_close(_NOT_TEXT)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def keepalive_timeout(self) -> None:
        """Cut a peer off that does not answer to pings."""
        super().keepalive_timeout()
        self._drop_later()

    def shutdown(self) -> None:
        """Close because the process ends."""
        super().shutdown()
        self._drop_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone."""
        if self.close_timer is not None:
            self.close_timer.cancel()
        super().connection_lost(exc)

    def _drop_later(self) -> None:
        # To close is to wait until all that was written is taken, be it for ever.
        loop: asyncio.AbstractEventLoop = self.loop
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = loop.call_later(_LAST_WORDS_S, self.transport.abort)
