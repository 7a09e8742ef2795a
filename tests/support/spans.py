"""All spans of this process: those that ended, and those that have not."""

from __future__ import annotations

import asyncio
import threading
import time

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from libs.telemetry import names

_POLL_S = 0.002


class Spans(SpanProcessor):
    """Remembers every span from its start to its end and beyond."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[int, ReadableSpan] = {}
        self._ended: list[ReadableSpan] = []

    @classmethod
    def recorded(cls, monkeypatch: pytest.MonkeyPatch) -> Spans:
        """Record the spans of this process until the test ends."""
        spans = cls()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(spans)
        # The public setter works once in a process.
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
        return spans

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        with self._lock:
            self._live[id(span)] = span

    def on_end(self, span: ReadableSpan) -> None:
        with self._lock:
            context = span.get_span_context()
            self._live = {
                key: each for key, each in self._live.items() if each.get_span_context() != context
            }
            self._ended.append(span)

    def forget(self) -> None:
        """Drop what has ended."""
        with self._lock:
            self._ended.clear()

    def live(self, trace_id: int | None = None) -> list[ReadableSpan]:
        """Return the spans that have not ended, of one trace or of all."""
        with self._lock:
            return [each for each in self._live.values() if _is_of(each, trace_id)]

    def ended(self, trace_id: int | None = None) -> list[ReadableSpan]:
        """Return the spans that have ended, of one trace or of all, in the order of their end."""
        with self._lock:
            return [each for each in self._ended if _is_of(each, trace_id)]

    async def settled(self, trace_id: int, within_s: float) -> bool:
        """Wait until no span of a trace is live; return False if one still is at the end."""
        end_s = time.monotonic() + within_s
        while self.live(trace_id):
            if time.monotonic() > end_s:
                return False
            await asyncio.sleep(_POLL_S)
        return True


def code_of(span: ReadableSpan) -> str:
    """Return the status code that a span of an RPC ended with, whoever made the span."""
    attributes = span.attributes or {}
    theirs = attributes.get("rpc.grpc.status_code")
    if names.RPC_STATUS_CODE not in attributes and isinstance(theirs, int):
        return next(code.name for code in grpc.StatusCode if code.value[0] == theirs)
    return str(attributes.get(names.RPC_STATUS_CODE, ""))


def _is_of(span: ReadableSpan, trace_id: int | None) -> bool:
    context = span.get_span_context()
    return trace_id is None or (context is not None and context.trace_id == trace_id)
