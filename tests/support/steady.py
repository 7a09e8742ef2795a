"""An orchestrator that tells every caller the same number of texts at the same pace.

`python -m tests.support.steady '{"texts": 100, "gap_s": 0.1}'` prints its port, then serves
until it is ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc

from hasten.answer.v1 import answer_service_pb2 as pb
from hasten.answer.v1.answer_service_pb2_grpc import (
    AnswerServiceServicer,
    add_AnswerServiceServicer_to_server,
)
from libs.server.bootstrap import OPTIONS
from libs.values import AnswerEvent, Event, TextDelta
from libs.wire import event_to
from tests.support.edges import COMPLETED, PLAN


class Steady(AnswerServiceServicer):
    """Tells a plan, texts with a gap before each, and the end."""

    def __init__(self, texts: int, gap_s: float) -> None:
        self._gap_s = gap_s
        told: list[Event] = [PLAN, *[TextDelta(f"word {n} ") for n in range(texts)], COMPLETED]
        self._messages = [
            pb.StreamAnswerResponse(events=[event_to(AnswerEvent(number, event))])
            for number, event in enumerate(told, 1)
        ]

    async def StreamAnswer(self, request: Any, context: Any) -> AsyncIterator[Any]:
        due_s = time.monotonic()
        for message in self._messages:
            yield message
            due_s += self._gap_s
            await asyncio.sleep(due_s - time.monotonic())


async def _serve(texts: int, gap_s: float) -> None:
    server = aio.server(options=OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    add_AnswerServiceServicer_to_server(Steady(texts, gap_s), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


@asynccontextmanager
async def steady(texts: int, gap_s: float) -> AsyncIterator[str]:
    """Run one in a process of its own until the block is left; yield its address."""
    told = json.dumps({"texts": texts, "gap_s": gap_s})
    command = [sys.executable, "-m", "tests.support.steady", told]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(_serve(**json.loads(sys.argv[1])))
