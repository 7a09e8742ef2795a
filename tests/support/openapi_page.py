"""Writes `docs/reference/openapi.json`: `python -m tests.support.openapi_page > …`."""

from __future__ import annotations

import json
import sys
from typing import Any

from prometheus_client import CollectorRegistry

from services.edge.access.quotas import Quotas
from services.edge.access.tickets import Tickets
from services.edge.answers.answering import Pace
from services.edge.documents.limits import Limits
from services.edge.jobs.desk import Desk
from services.edge.operations import Parts, operations_of
from services.edge.web.draining import OpenStreams
from services.edge.web.metrics import EdgeMetrics
from services.edge.web.openapi import document_of


def document() -> dict[str, Any]:
    """Return the document of an edge that is asked nothing."""
    nobody: Any = None
    parts = Parts(
        answers=nobody,
        pace=Pace(300.0, 15.0),
        metrics=EdgeMetrics(CollectorRegistry()),
        clock=lambda: 0.0,
        now=lambda: 0.0,
        quotas=Quotas(),
        streams=OpenStreams(),
        tickets=Tickets(b"a-secret", lambda: 0.0),
        desk=Desk(None, lambda: 0.0),
        retrieval=None,
        limits=Limits(),
        origins=frozenset(),
        max_job_bytes=100_000,
        policies=(),
    )
    return document_of(operations_of(parts))


def text() -> str:
    """Return the page."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
