"""Runs that a test lets grow, before whoever follows them over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from grpc import aio

from hasten.answer.v1 import answer_service_pb2 as pb
from hasten.answer.v1.answer_service_pb2_grpc import (
    AnswerServiceServicer,
    add_AnswerServiceServicer_to_server,
)
from libs.errors import RunNotFoundError
from libs.values import (
    Account,
    AnswerEvent,
    AnswerState,
    Completed,
    Event,
    FinishReason,
    Plan,
    Quality,
    TextDelta,
)
from libs.wire import event_to

_ACCOUNT = Account(0.5, 0.25, pieces=(), hops=())
COMPLETED = Completed(FinishReason.END_TURN, AnswerState.COMPLETE, Quality.FULL, _ACCOUNT)


class GrowingRuns(AnswerServiceServicer):
    """Runs of the tenant acme, each of a plan, words and an end.

    Attributes:
        watching: calls that follow a run now.
    """

    def __init__(self) -> None:
        self.watching = 0
        self._runs: dict[str, list[Event]] = {}
        self._grown = asyncio.Condition()

    def register(self, server: aio.Server) -> None:
        add_AnswerServiceServicer_to_server(self, server)

    def begin(self, run_id: str) -> None:
        self._runs[run_id] = [Plan(run_id, "ab" * 16, "interactive", 0.7, 10.0, Quality.FULL)]

    async def grow(self, run_id: str, *words: str, end: bool = False) -> None:
        """Add words, and the end."""
        self._runs[run_id] += [TextDelta(word) for word in words] + [COMPLETED] * end
        async with self._grown:
            self._grown.notify_all()

    async def WatchAnswer(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if request.tenant_id != "acme" or request.run_id not in self._runs:
            raise RunNotFoundError(f"run_id: {request.run_id} is not known, or has expired")
        self.watching += 1
        try:
            async for numbered in self._told(request.run_id, request.after_sequence):
                yield pb.WatchAnswerResponse(events=[event_to(numbered)])
        finally:
            self.watching -= 1

    async def _told(self, run_id: str, last: int) -> AsyncIterator[AnswerEvent]:
        events = self._runs[run_id]
        while True:
            while last < len(events):
                last += 1
                yield AnswerEvent(last, events[last - 1])
                if events[last - 1] is COMPLETED:
                    return
            async with self._grown:
                while last == len(events):
                    await self._grown.wait()
