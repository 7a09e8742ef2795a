"""`hasten.jobs.v1.JobsService`: from the wire to the desk and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from grpc import aio

from hasten.jobs.v1 import jobs_service_pb2 as pb
from hasten.jobs.v1.jobs_service_pb2_grpc import (
    JobsServiceServicer,
    add_JobsServiceServicer_to_server,
)
from libs.budget import current_budget
from libs.errors import InvalidFieldError
from libs.telemetry import current_traceparent
from libs.values.jobs import Job, JobEvent, JobState, Submission
from libs.wire import enumeration, job_event_from, job_event_to, job_to, seconds
from services.jobs.desk import Choice, Desk
from services.jobs.submitting import check_name

_MOST_WAIT_S = 60.0
# Kept back of a caller's deadline, so that the answer is there before it.
_REPLY_RESERVE_S = 0.1
_MOST_PAGE, _USUAL_PAGE = 200, 50


class JobsServicer(JobsServiceServicer):
    """Takes jobs on, and tells of them."""

    NAME = pb.DESCRIPTOR.services_by_name["JobsService"].full_name
    WATCHES = (f"{NAME}/GetJob", f"{NAME}/WatchJob")

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def register(self, server: aio.Server) -> None:
        """Attach this servicer to a server."""
        add_JobsServiceServicer_to_server(self, server)

    async def SubmitJob(
        self, request: pb.SubmitJobRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.SubmitJobResponse:
        submission = Submission(
            request.tenant_id,
            request.kind,
            request.input,
            request.idempotency_key,
            request.scope,
            seconds(request.result_ttl) if request.HasField("result_ttl") else None,
        )
        submitted = await self._desk.submit(submission, current_traceparent())
        return pb.SubmitJobResponse(job=_brief(submitted.job), created=submitted.created)

    async def GetJob(
        self, request: pb.GetJobRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.GetJobResponse:
        _check(request, request.after_revision, "after_revision")
        wait_s = seconds(request.wait)
        if not 0 <= wait_s <= _MOST_WAIT_S:
            raise InvalidFieldError("wait", f"must be 0 to {_MOST_WAIT_S:.0f} s, is {wait_s:g} s")
        budget = current_budget()
        if budget is not None:
            wait_s = min(wait_s, budget.remaining_s() - _REPLY_RESERVE_S)
        job = await self._desk.get(
            request.tenant_id, request.job_id, request.after_revision, wait_s
        )
        return pb.GetJobResponse(job=job_to(job))

    async def WatchJob(
        self, request: pb.WatchJobRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.WatchJobResponse]:
        _check(request, request.after_sequence, "after_sequence")
        watched = self._desk.watch(request.tenant_id, request.job_id, request.after_sequence)
        async with aclosing(watched) as batches:
            async for batch in batches:
                yield pb.WatchJobResponse(events=map(job_event_to, batch))

    async def CancelJob(
        self, request: pb.CancelJobRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.CancelJobResponse:
        _check(request)
        job = await self._desk.cancel(request.tenant_id, request.job_id)
        return pb.CancelJobResponse(job=job_to(job))

    async def ListJobs(
        self, request: pb.ListJobsRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ListJobsResponse:
        check_name(request.tenant_id, "tenant_id")
        if request.page_token:
            check_name(request.page_token, "page_token")
        size = request.page_size or _USUAL_PAGE
        if not 1 <= size <= _MOST_PAGE:
            raise InvalidFieldError("page_size", f"must be 1 to {_MOST_PAGE}, is {size}")
        states = frozenset(
            enumeration(JobState, state, f"states[{index}]", required=True)
            for index, state in enumerate(request.states)
        )
        choice = Choice(states, frozenset(request.kinds), request.dead_letters)
        page = await self._desk.page(request.tenant_id, choice, size, request.page_token)
        return pb.ListJobsResponse(
            jobs=map(job_to, page.jobs), next_page_token=page.next_page_token
        )

    async def RetryJob(
        self, request: pb.RetryJobRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.RetryJobResponse:
        _check(request)
        job = await self._desk.retry(request.tenant_id, request.job_id, current_traceparent())
        return pb.RetryJobResponse(job=_brief(job))


def encode_event(event: JobEvent) -> bytes:
    """Return an event as it stands in the event log: the contract's own message."""
    return job_event_to(event).SerializeToString()


def decode_event(data: bytes) -> JobEvent:
    """Return the event that `encode_event` wrote."""
    return job_event_from(pb.JobEvent.FromString(data))


def _check(request: Any, after: int = 0, field: str = "") -> None:
    """Refuse what names no job of one tenant, or no place among its events."""
    check_name(request.tenant_id, "tenant_id")
    check_name(request.job_id, "job_id")
    if after < 0:
        raise InvalidFieldError(field, f"must be at least 0, is {after}")


def _brief(job: Job) -> pb.Job:
    return job_to(replace(job, result=b""))
