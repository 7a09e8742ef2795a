"""Logs: one line an event, on standard error, with the trace they belong to."""

from __future__ import annotations

import logging

from libs.telemetry.spans import current_trace_id


class _TraceFilter(logging.Filter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def filter(self, record: logging.LogRecord) -> bool:
        record.service = self._service
        record.trace = current_trace_id() or "-"
        return True


def set_up_logs(service: str, level: str) -> None:
    """Log this process's events of at least `level` to standard error."""
    handler = logging.StreamHandler()
    handler.addFilter(_TraceFilter(service))
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(service)s %(trace)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
