"""The jobs service as the edge uses it: for one caller, and only if there is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine

from libs.clients.jobs import JobsClient
from libs.errors import JobNotFoundError
from libs.values.jobs import Job, JobEvent, Submission, Submitted
from services.edge.access.caller import Caller
from services.edge.access.quotas import Quotas
from services.edge.jobs.body import INGEST, scopes_of
from services.edge.jobs.following import follow
from services.edge.problem import Problem, ProblemError

CALL_S = 10.0
"""Seconds that a call may take that has nothing to wait for."""


class Desk:
    """Jobs of callers: what one may not see is not there.

    Args:
        client: the jobs service; None if the edge was given none.
        clock: seconds that only go forward.
        quotas: where it is noted what jobs owe; None counts no tokens.
    """

    def __init__(
        self,
        client: JobsClient | None,
        clock: Callable[[], float],
        quotas: Quotas | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._quotas = quotas
        self._taking_on: set[asyncio.Task[Submitted]] = set()
        self._is_draining = asyncio.Event()

    def drain(self) -> None:
        """Hold nobody any longer: this process is about to end."""
        self._is_draining.set()

    @property
    def client(self) -> JobsClient:
        """The jobs service.

        Raises:
            ProblemError: the edge was given none.
        """
        if self._client is None:
            detail = "There are no jobs here: EDGE_JOBS_TARGET is not set."
            raise ProblemError(Problem(503, "JOBS_NOT_CONFIGURED", detail))
        return self._client

    async def submit(self, caller: Caller, submission: Submission) -> Submitted:
        """Hand a job over.

        Raises:
            ProblemError: the caller may not do what the job does.
            MeshError: what the jobs service raised.
        """
        for scope in scopes_of(submission):
            caller.check_scope(scope)
        if submission.kind == INGEST:
            caller.require("documents.write")
        return await self._taken_on(caller, self._submit(submission))

    async def retry(self, caller: Caller, job_id: str) -> Submitted:
        """Try a dead letter again.

        Raises:
            ProblemError: the caller may not do what the job does.
            MeshError: what the jobs service raised.
        """
        dead = await self.get(caller, job_id)
        if dead.kind == INGEST:
            caller.require("documents.write")
        return await self._taken_on(caller, self._retry(caller.tenant_id, job_id))

    async def _taken_on(
        self, caller: Caller, taking_on: Coroutine[object, object, Submitted]
    ) -> Submitted:
        """Note what a new job will owe, also if its caller hangs up before it is told of it."""

        async def take_on() -> Submitted:
            submitted = await taking_on
            # One that has ended was noted when it was new.
            is_new = submitted.created and not submitted.job.state.has_ended
            if self._quotas is not None and is_new:
                await self._quotas.owe(caller, submitted.job.job_id)
            return submitted

        task = asyncio.create_task(take_on())
        self._taking_on.add(task)
        task.add_done_callback(self._taken)
        return await asyncio.shield(task)

    def _taken(self, task: asyncio.Task[Submitted]) -> None:
        self._taking_on.discard(task)
        if not task.cancelled():
            task.exception()  # whoever hung up does not hear of it

    async def _submit(self, submission: Submission) -> Submitted:
        return await self.client.submit(submission, limit_s=CALL_S)

    async def _retry(self, tenant_id: str, job_id: str) -> Submitted:
        job = await self.client.retry(tenant_id, job_id, limit_s=CALL_S)
        return Submitted(job, created=True)

    async def get(self, caller: Caller, job_id: str) -> Job:
        """Return a job as it is now."""
        job = await self.client.get(caller.tenant_id, job_id, limit_s=CALL_S)
        return checked(caller, job)

    async def wait(self, caller: Caller, job_id: str, known: int | None, wait_s: float) -> Job:
        """Return a job once it has changed, can change no more, or the time is over.

        Args:
            caller: who asks.
            job_id: the job.
            known: the revision that the caller has; None waits for the job's end.
            wait_s: seconds to wait at most.
        """
        end_s = self._clock() + wait_s
        job = await self.get(caller, job_id)
        while known in (None, job.revision) and self._may_wait(job, end_s):
            job = await self._later(caller, job_id, job.revision, end_s)
        return job

    def _may_wait(self, job: Job, end_s: float) -> bool:
        is_over = job.state.has_ended or self._is_draining.is_set()
        return not is_over and end_s > self._clock()

    async def _later(self, caller: Caller, job_id: str, revision: int, end_s: float) -> Job:
        left_s = max(0.0, end_s - self._clock())
        waiting = asyncio.create_task(
            self.client.get(
                caller.tenant_id,
                job_id,
                after_revision=revision,
                wait_s=left_s,
                limit_s=left_s + CALL_S,
            )
        )
        draining = asyncio.create_task(self._is_draining.wait())
        try:
            await asyncio.wait({waiting, draining}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return checked(caller, waiting.result())
        finally:
            waiting.cancel()
            draining.cancel()
            await asyncio.gather(waiting, draining, return_exceptions=True)
        return await self.get(caller, job_id)

    def follow(self, caller: Caller, job_id: str, after: int) -> AsyncGenerator[JobEvent, None]:
        """Yield a job's events above `after`, from any replica, each once."""
        return follow(self.client, caller.tenant_id, job_id, after, self._clock)


def checked(caller: Caller, job: Job) -> Job:
    """Return a job, if its scope is one that the caller may name.

    Raises:
        JobNotFoundError: it is not.
    """
    if not caller.may_name(job.scope):
        raise JobNotFoundError(f"job_id: {job.job_id!r} is not known, or has expired")
    return job
