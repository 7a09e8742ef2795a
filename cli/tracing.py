"""`hasten trace`: shows one request, hop by hop."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console

from cli.clients import connected
from cli.home import Place
from cli.waterfall import account_waterfall, trace_waterfall
from libs.clients.traces import TracesClient
from libs.errors import TraceNotFoundError
from libs.values.account_json import account_from_json
from libs.values.traces import ACCOUNT_ATTRIBUTE, ALL_TENANTS, Span, TraceOrder

# Root spans of answers: asked over gRPC, and over HTTP.
ANSWERS = ("hasten.answer.v1.AnswerService/StreamAnswer", "POST /v1/answers")
LIMIT_S = 10.0


async def find_trace(place: Place, trace_id: str | None, order: TraceOrder) -> tuple[Span, ...]:
    """Return the spans of the trace of that id, or of the first answer in that order.

    Raises:
        TraceNotFoundError: there is none.
    """
    async with connected(place, "traces") as connection:
        client = TracesClient(connection)
        if trace_id is None:
            roots = await client.list(ALL_TENANTS, limit=200, order=order, limit_s=LIMIT_S)
            answers = [span for span in roots if span.name in ANSWERS]
            if not answers:
                raise TraceNotFoundError("no answer has been traced yet")
            trace_id = answers[0].trace_id
        return await client.get(ALL_TENANTS, trace_id, limit_s=LIMIT_S)


def show_trace(console: Console, spans: tuple[Span, ...]) -> None:
    """Print the spans as a tree, and granted against used if the trace is an answer's."""
    console.print(trace_waterfall(spans))
    for span in spans:
        told = span.attributes.get(ACCOUNT_ATTRIBUTE)
        if isinstance(told, str):
            console.print(account_waterfall(account_from_json(told)))


def trace_json(spans: tuple[Span, ...]) -> str:
    """Return a trace as one JSON object."""
    return json.dumps({"spans": [asdict(span) for span in spans]}, ensure_ascii=False, default=dict)
