"""A typed client of `hasten.jobs.v1.JobsService`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from hasten.jobs.v1 import jobs_service_pb2 as pb
from hasten.jobs.v1.jobs_service_pb2_grpc import JobsServiceStub
from libs.clients.connection import Connection, Responses
from libs.values.jobs import Job, JobEvent, JobPage, JobState, Submission, Submitted
from libs.wire import duration, job_event_from, job_from

# A Duration can be no longer (google/protobuf/duration.proto): some 10,000 years. The service
# takes far less, and is the one to say so.
_LONGEST_S = 315_576_000_000


class JobsClient:
    """Submits jobs and follows them; every method raises what the server raised."""

    SERVICE = pb.DESCRIPTOR.services_by_name["JobsService"].full_name

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = JobsServiceStub(connection.channel)

    async def submit(self, submission: Submission, *, limit_s: float | None = None) -> Submitted:
        """Hand a job over; with a key, what was submitted before is returned again."""
        ttl_s = submission.result_ttl_s
        request = pb.SubmitJobRequest(
            tenant_id=submission.tenant_id,
            kind=submission.kind,
            input=submission.input,
            idempotency_key=submission.idempotency_key,
            scope=submission.scope,
            result_ttl=None if ttl_s is None else duration(min(ttl_s, _LONGEST_S)),
        )
        response = await self._connection.unary(self._stub.SubmitJob, request, limit_s=limit_s)
        return Submitted(job_from(response.job), response.created)

    async def get(
        self,
        tenant_id: str,
        job_id: str,
        *,
        after_revision: int = 0,
        wait_s: float = 0.0,
        limit_s: float | None = None,
    ) -> Job:
        """Return a job with its result, if it has one.

        Args:
            tenant_id: who submitted it.
            job_id: the job.
            after_revision: the revision that the caller has.
            wait_s: seconds to wait for a newer one, at most 60.
            limit_s: seconds the call may take.
        """
        request = pb.GetJobRequest(
            tenant_id=tenant_id,
            job_id=job_id,
            after_revision=after_revision,
            wait=duration(wait_s) if wait_s else None,
        )
        response = await self._connection.unary(self._stub.GetJob, request, limit_s=limit_s)
        return job_from(response.job)

    @asynccontextmanager
    async def watch(
        self,
        tenant_id: str,
        job_id: str,
        after_sequence: int = 0,
        *,
        limit_s: float | None = None,
    ) -> AsyncIterator[AsyncIterator[JobEvent]]:
        """Follow a job from after an event on; leaving the block leaves the job alone."""
        request = pb.WatchJobRequest(
            tenant_id=tenant_id, job_id=job_id, after_sequence=after_sequence
        )
        method = self._stub.WatchJob
        async with self._connection.stream(method, request, limit_s=limit_s) as batches:
            yield _events(batches)

    async def cancel(self, tenant_id: str, job_id: str, *, limit_s: float | None = None) -> Job:
        """End a job, and return it as it is then: cancelled, unless it had ended before."""
        request = pb.CancelJobRequest(tenant_id=tenant_id, job_id=job_id)
        response = await self._connection.unary(self._stub.CancelJob, request, limit_s=limit_s)
        return job_from(response.job)

    async def list(
        self,
        tenant_id: str,
        *,
        states: Iterable[JobState] = (),
        kinds: Iterable[str] = (),
        dead_letters: bool = False,
        page_size: int = 0,
        page_token: str = "",
        limit_s: float | None = None,
    ) -> JobPage:
        """Return a page of jobs without their results, the newest first.

        Args:
            tenant_id: whose jobs.
            states: only jobs in one of these; none lists all.
            kinds: only jobs of one of these; none lists all.
            dead_letters: True lists dead letters only.
            page_size: jobs on the page at most; 0 leaves it to the server.
            page_token: what the page before gave.
            limit_s: seconds the call may take.
        """
        request = pb.ListJobsRequest(
            tenant_id=tenant_id,
            states=[int(state) for state in states],  # type: ignore[misc]
            kinds=kinds,
            dead_letters=dead_letters,
            page_size=page_size,
            page_token=page_token,
        )
        response = await self._connection.unary(self._stub.ListJobs, request, limit_s=limit_s)
        return JobPage(tuple(map(job_from, response.jobs)), response.next_page_token)

    async def retry(self, tenant_id: str, job_id: str, *, limit_s: float | None = None) -> Job:
        """Try a dead letter again, and return the new job."""
        request = pb.RetryJobRequest(tenant_id=tenant_id, job_id=job_id)
        response = await self._connection.unary(self._stub.RetryJob, request, limit_s=limit_s)
        return job_from(response.job)


async def _events(batches: Responses) -> AsyncIterator[JobEvent]:
    async for batch in batches:
        if batch.events and batch.events[-1].HasField("completed"):
            batches.close()
        for message in batch.events:
            # A newer server may send kinds that this version does not know.
            if message.WhichOneof("event") is not None:
                yield job_event_from(message)
