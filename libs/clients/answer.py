"""A typed client of `hasten.answer.v1.AnswerService`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from hasten.answer.v1 import answer_service_pb2 as pb
from hasten.answer.v1.answer_service_pb2_grpc import AnswerServiceStub
from libs.clients.calling import Repeat
from libs.clients.connection import Connection, Responses
from libs.values import AnswerEvent, Question, Verdict
from libs.wire import event_from, question_to


class AnswerClient:
    """Asks questions and follows runs; every method raises what the server raised."""

    SERVICE = pb.DESCRIPTOR.services_by_name["AnswerService"].full_name

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = AnswerServiceStub(connection.channel)

    @asynccontextmanager
    async def ask(
        self, question: Question, *, limit_s: float | None = None
    ) -> AsyncIterator[AsyncIterator[AnswerEvent]]:
        """Ask, and yield the answer's events as they come; leaving the block cancels the call.

        A call that is lost on its way is made once more, with what is left of the time, as long
        as nothing has come of it: the run that it began, if any, ends with its only reader. A
        mesh that says to come back later is not asked again.

        Args:
            question: what is asked, and how it is to be answered.
            limit_s: seconds until the hard end; None leaves it to the policy and to the
                current budget.
        """
        method, repeat = self._stub.StreamAnswer, _repeat(question)
        async with self._connection.stream(
            method, question_to(question), limit_s=limit_s, repeat=repeat
        ) as batches:
            yield _events(batches)

    @asynccontextmanager
    async def watch(
        self,
        tenant_id: str,
        run_id: str,
        after_sequence: int = 0,
        *,
        scopes: Iterable[str] = (),
        passive: bool = False,
        limit_s: float | None = None,
    ) -> AsyncIterator[AsyncIterator[AnswerEvent]]:
        """Follow a run from after an event on; leaving the block leaves the run alone.

        Args:
            tenant_id: whose run it is.
            run_id: the run.
            after_sequence: the number of the last event that was seen.
            scopes: a run that was asked in a scope is only there for who names it.
            passive: True lets the run end when all others have left it.
            limit_s: seconds that the call may take.
        """
        request = pb.WatchAnswerRequest(
            tenant_id=tenant_id,
            run_id=run_id,
            after_sequence=after_sequence,
            scopes=scopes,
            passive=passive,
        )
        method = self._stub.WatchAnswer
        async with self._connection.stream(method, request, limit_s=limit_s) as batches:
            yield _events(batches)

    async def stop(
        self,
        tenant_id: str,
        run_id: str,
        *,
        scopes: Iterable[str] = (),
        limit_s: float | None = None,
    ) -> bool:
        """End a run, which is found as by `watch`; return False if it had ended."""
        request = pb.StopAnswerRequest(tenant_id=tenant_id, run_id=run_id, scopes=scopes)
        response = await self._connection.unary(self._stub.StopAnswer, request, limit_s=limit_s)
        return bool(response.stopping)

    async def report(
        self,
        tenant_id: str,
        run_id: str,
        verdict: Verdict,
        *,
        scopes: Iterable[str] = (),
        limit_s: float | None = None,
    ) -> bool:
        """Judge a run, which is found as by `watch`; return True if a stored answer was removed."""
        request = pb.ReportAnswerRequest(
            tenant_id=tenant_id,
            run_id=run_id,
            scopes=scopes,
            verdict=int(verdict),  # type: ignore[arg-type]
        )
        response = await self._connection.unary(self._stub.ReportAnswer, request, limit_s=limit_s)
        return bool(response.removed)


def _repeat(question: Question) -> Repeat:
    """Return what is asked of a second attempt: a text by the time that was said first."""
    first_text_s = question.first_text_by_s
    if first_text_s is None:
        return Repeat(waits=False)

    def later(seconds: float) -> Any:
        return question_to(replace(question, first_text_by_s=max(0.0, first_text_s - seconds)))

    return Repeat(first_text_s, waits=False, request=later)


async def _events(batches: Responses) -> AsyncIterator[AnswerEvent]:
    async for batch in batches:
        if batch.events and batch.events[-1].HasField("completed"):
            batches.close()
        for message in batch.events:
            # A newer server may send kinds that this version does not know.
            if message.WhichOneof("event") is not None:
                yield event_from(message)
