"""Streams that are told when this process is about to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from services.edge.web import sse
from services.edge.web.presence import CallerLeftError
from services.edge.web.sse import EventStream


class OpenStreams:
    """The streams that would like to know."""

    def __init__(self) -> None:
        self._open: set[EventStream] = set()

    @contextmanager
    def told(self, stream: EventStream) -> Iterator[None]:
        """Tell a stream while inside."""
        self._open.add(stream)
        try:
            yield
        finally:
            self._open.discard(stream)

    def go_away(self, time_left_s: float) -> None:
        """Send `goaway` to all of them; it is no event of a run, and has no number."""
        data = sse.frame("goaway", {"time_left_ms": round(time_left_s * 1e3)})
        for stream in self._open:
            with suppress(CallerLeftError):
                stream.put(data, urgent=True)
