"""`hasten.answer.v1.AnswerService`: from the wire to runs and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from grpc import aio

from hasten.answer.v1 import answer_service_pb2 as pb
from hasten.answer.v1.answer_service_pb2_grpc import (
    AnswerServiceServicer,
    add_AnswerServiceServicer_to_server,
)
from libs.budget import Budget, current_budget
from libs.errors import BudgetExhaustedError
from libs.server import current_call
from libs.values import AnswerEvent, Question, Reader, Verdict
from libs.wire import enumeration, event_from, event_to, question_from
from services.orchestrator.checks import check_question, check_run_id
from services.orchestrator.policy import Policies, Policy
from services.orchestrator.runs import Runs


class OrchestratorServicer(AnswerServiceServicer):
    """Answers questions, and follows, stops and judges the runs that do."""

    NAME = pb.DESCRIPTOR.services_by_name["AnswerService"].full_name
    WATCHES = (f"{NAME}/WatchAnswer",)

    def __init__(self, runs: Runs, policies: Policies) -> None:
        self._runs = runs
        self._policies = policies

    def register(self, server: aio.Server) -> None:
        """Attach this servicer to a server."""
        add_AnswerServiceServicer_to_server(self, server)

    async def StreamAnswer(
        self, request: pb.StreamAnswerRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.StreamAnswerResponse]:
        question = question_from(request)
        check_question(question)
        budget = _budget(question, self._policies.named(question.policy))
        run = self._runs.start(question, budget, current_call().started_s)
        # Closing leaves the run at once, and with it cancels what nobody else reads.
        async with aclosing(run.read()) as batches:
            async for batch in batches:
                messages = [event_to(event) for event in batch]
                for message in messages:
                    run.encoded[message.sequence] = message.SerializeToString()
                yield pb.StreamAnswerResponse(events=messages)

    async def WatchAnswer(
        self, request: pb.WatchAnswerRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.WatchAnswerResponse]:
        check_run_id(request.run_id, request.after_sequence)
        watched = self._runs.watch(
            _reader(request), request.run_id, request.after_sequence, passive=request.passive
        )
        async with aclosing(watched) as batches:
            async for batch in batches:
                yield pb.WatchAnswerResponse(events=map(event_to, batch))

    async def StopAnswer(
        self, request: pb.StopAnswerRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.StopAnswerResponse:
        check_run_id(request.run_id)
        stopping = await self._runs.stop(_reader(request), request.run_id)
        return pb.StopAnswerResponse(stopping=stopping)

    async def ReportAnswer(
        self, request: pb.ReportAnswerRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ReportAnswerResponse:
        check_run_id(request.run_id)
        verdict = enumeration(Verdict, request.verdict, "verdict", required=True)
        removed = await self._runs.report(_reader(request), request.run_id, verdict)
        return pb.ReportAnswerResponse(removed=removed)


def encode_event(event: AnswerEvent) -> bytes:
    """Return an event as it stands in the event log: the contract's own message."""
    return event_to(event).SerializeToString()


def decode_event(data: bytes) -> AnswerEvent:
    """Return the event that `encode_event` wrote."""
    return event_from(pb.AnswerEvent.FromString(data))


def _reader(
    request: pb.WatchAnswerRequest | pb.StopAnswerRequest | pb.ReportAnswerRequest,
) -> Reader:
    return Reader(request.tenant_id, frozenset(request.scopes))


def _budget(question: Question, policy: Policy) -> Budget:
    """Return the time of a run: the caller's where it said, the policy's where not.

    A resumable run lives by the policy alone: its caller may leave before its end.

    Raises:
        BudgetExhaustedError: the first text is due in no time at all.
    """
    given = current_budget()
    end_s = policy.end_s
    if given is not None and not question.resumable:
        end_s = min(end_s, given.remaining_s())
    first_text_s = question.first_text_by_s
    budget = Budget.of(end_s, policy.first_text_s if first_text_s is None else first_text_s)
    if budget.patience_s() <= 0:
        raise BudgetExhaustedError(
            "first_text_by: must be above 0", hop="orchestrator", needed_ms=1, had_ms=0
        )
    return budget
