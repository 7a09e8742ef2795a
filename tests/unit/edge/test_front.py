"""What the front of the edge does with requests that end otherwise than they should."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry
from starlette.types import Message, Scope

from services.edge.access.caller import anyone
from services.edge.access.gate import Gate
from services.edge.access.quotas import Quotas
from services.edge.problem import Problem, ProblemError
from services.edge.web.exchange import Exchange
from services.edge.web.front import SOCKET, Front, Rules
from services.edge.web.metrics import EdgeMetrics
from services.edge.web.operation import Operation
from services.edge.web.sse import Flow
from tests.unit.edge.test_sse import Reader


async def test_a_reader_that_does_not_take_the_error_either_is_cut_and_nothing_fails() -> None:
    reader, registry = Reader(), CollectorRegistry()

    async def handle(exchange: Exchange) -> None:
        await exchange.stream.write(b"a text")
        reader.takes.clear()
        reader.behind_bytes = 65_536
        raise ProblemError(Problem(503, "UNREACHABLE", "It is gone."))

    async def receive() -> Message:
        return {"type": "http.request"}

    operation = Operation("GET", "/v1/it", "doIt", "Does it.", handle, "", {})
    rules = Rules(None, 1000, 1.0, 10, Flow(stall_s=0.05))
    front = Front(rules, Gate(anyone("acme")), Quotas(), EdgeMetrics(registry), time.monotonic)
    state = {SOCKET: reader}
    scope: Scope = {"type": "http", "headers": [], "query_string": b"", "state": state}
    await front.serve(operation, scope, receive, reader.send)
    assert reader.is_aborted
    assert registry.get_sample_value("hasten_edge_readers_cut_total", {"operation": "doIt"}) == 1
