"""Turns telemetry on for a process, and off again within a bounded time."""

from __future__ import annotations

import os
import threading

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from libs.telemetry import names

# Short, so that a trace can be read a moment after its request.
_EXPORT_EVERY_MS = 200


class Telemetry:
    """What a process must end before it exits."""

    def __init__(self, provider: TracerProvider | None) -> None:
        self._provider = provider

    def close(self, timeout_s: float = 1.0) -> None:
        """Export what is left, for at most `timeout_s`.

        The SDK's own time limit does not hold while its exporter retries, so it is
        left behind on a thread that does not keep the process alive.
        """
        if self._provider is None:
            return
        flushing = threading.Thread(target=self._provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(timeout_s)


def telemetry_disabled() -> bool:
    """Return whether `OTEL_SDK_DISABLED`, the one switch, turns spans and metrics off."""
    return os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"


def set_up_telemetry(service: str) -> Telemetry:
    """Send this process's spans to `OTEL_EXPORTER_OTLP_ENDPOINT`, if that is set.

    Without an endpoint nothing is recorded; trace ids are still passed on. Sampling
    follows `OTEL_TRACES_SAMPLER`.
    """
    if telemetry_disabled() or not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return Telemetry(None)
    provider = TracerProvider(resource=Resource.create({names.SERVICE_NAME: service}))
    exporter = OTLPSpanExporter(insecure=True, timeout=2)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, schedule_delay_millis=_EXPORT_EVERY_MS)
    )
    trace.set_tracer_provider(provider)
    return Telemetry(provider)
