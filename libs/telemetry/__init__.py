"""Spans and metrics, the same in every process; every name stands in `names`."""

from libs.telemetry import names
from libs.telemetry.logs import set_up_logs
from libs.telemetry.metrics import (
    count_refused,
    count_retry,
    count_shed,
    serve_metrics,
    watch_admission,
)
from libs.telemetry.setup import Telemetry, set_up_telemetry, telemetry_disabled
from libs.telemetry.spans import (
    client_span,
    context_of,
    current_trace_id,
    current_traceparent,
    root_span,
    server_span,
    set_code,
    span,
    traceparent,
    tracer,
)

__all__ = [
    "Telemetry",
    "client_span",
    "context_of",
    "count_refused",
    "count_retry",
    "count_shed",
    "current_trace_id",
    "current_traceparent",
    "names",
    "root_span",
    "serve_metrics",
    "server_span",
    "set_code",
    "set_up_logs",
    "set_up_telemetry",
    "span",
    "telemetry_disabled",
    "traceparent",
    "tracer",
    "watch_admission",
]
