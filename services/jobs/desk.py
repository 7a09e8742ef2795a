"""Takes jobs on, shows them, and lets their owners end them."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from libs.errors import (
    DependencyUnavailableError,
    IdempotencyKeyReusedError,
    JobNotFoundError,
    JobsFullError,
    NotADeadLetterError,
    OverloadedError,
    UnreachableError,
)
from libs.values.jobs import (
    Job,
    JobChanged,
    JobCompleted,
    JobEvent,
    JobItem,
    JobPage,
    JobState,
    Submission,
    Submitted,
)
from services.jobs import measures
from services.jobs.changes import Changes, changed_within
from services.jobs.kinds import Kind
from services.jobs.record import Change, Record, cancelled, tried_again
from services.jobs.records import Creation, Outcome, Records, id_at
from services.jobs.submitting import check_submission
from services.jobs.tickets import Tickets

_LOG = logging.getLogger(__name__)
# Who waits looks for themselves this often: a message may be lost.
_LOOK_EVERY_S = 2.0
# So often is a change made again that another one came before.
_MOST_TRIES = 50
_COME_BACK_AFTER_S = 5.0
# Room comes with the end of jobs, and when results expire.
_COME_BACK_AFTER_FULL_S = 60.0
# Jobs that are looked at for a page, at most.
_SCAN = 200
_MOST_SCANNED = 2000


@dataclass(frozen=True, slots=True)
class Terms:
    """For how long jobs are kept, and how many of them.

    Attributes:
        result_ttl_s: seconds after the end of a job, unless its submitter says otherwise.
        unfinished_ttl_s: seconds after which a job that has not ended is given up.
        unfinished_count: jobs of a tenant that may be unfinished.
    """

    result_ttl_s: float
    unfinished_ttl_s: float
    unfinished_count: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Which jobs to list; an empty collection leaves nothing out."""

    states: Collection[JobState] = ()
    kinds: Collection[str] = ()
    dead_letters: bool = False

    def has(self, record: Record) -> bool:
        """Return whether a job is one of them."""
        job = record.job
        return (not self.states or job.state in self.states) and (
            not self.kinds or job.kind in self.kinds
        )


class Desk:
    """What callers may do with their jobs."""

    def __init__(
        self,
        records: Records,
        tickets: Tickets,
        changes: Changes,
        kinds: Mapping[str, Kind[Any]],
        terms: Terms,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Serve at the desk; `clock` gives Unix time."""
        self._records = records
        self._tickets = tickets
        self._changes = changes
        self._kinds = kinds
        self._terms = terms
        self._clock = clock

    async def submit(self, submission: Submission, traceparent: str) -> Submitted:
        """Take a job on, or find the one that was submitted before.

        Raises:
            InvalidFieldError: it cannot be done.
            IdempotencyKeyReusedError: its key was used for something else.
            OverloadedError: too many of the tenant's jobs are unfinished.
            JobsFullError: the tenant's jobs may hold no more bytes than they do.
            DependencyUnavailableError: jobs cannot be written now.
        """
        checked = await check_submission(submission, self._kinds)
        record = self._new(replace(submission, scope=checked.scope), traceparent)
        event = JobEvent(1, record.job.created_at_s, JobChanged(record.job))
        key = f"given:{submission.idempotency_key}" if submission.idempotency_key else ""
        submitted = await self._create(record, submission.input, [event], key, checked.digest)
        if submitted.created:
            measures.count_submitted(submission.kind)
        return submitted

    async def get(self, tenant_id: str, job_id: str, after_revision: int, wait_s: float) -> Job:
        """Return a job with its result; if it is no newer than asked, wait for that first.

        Raises:
            JobNotFoundError: the tenant has no such job.
            DependencyUnavailableError: jobs cannot be read now.
        """
        end_s = time.monotonic() + wait_s
        with self._changes.of(f"{tenant_id}/{job_id}") as changed:
            while True:
                record = await self._records.load(tenant_id, job_id)
                left_s = end_s - time.monotonic()
                is_new = record.job.revision > after_revision or record.job.state.has_ended
                if is_new or left_s <= 0 or self._changes.is_closing:
                    return await self._with_result(record)
                await changed_within(changed, min(left_s, _LOOK_EVERY_S))

    async def watch(
        self, tenant_id: str, job_id: str, after: int
    ) -> AsyncGenerator[Sequence[JobEvent], None]:
        """Yield a job's events behind number `after`, until its last.

        Raises:
            JobNotFoundError: the tenant has no such job, or has it no more.
            UnreachableError: this process is about to end.
            DependencyUnavailableError: jobs cannot be read now.
        """
        with self._changes.of(f"{tenant_id}/{job_id}") as changed:
            while True:
                # The record first: what ends between two reads is then seen by the second.
                record = await self._records.load(tenant_id, job_id)
                while record.job.revision > after:
                    events = await self._records.events(tenant_id, job_id, after)
                    if not events:
                        break
                    yield events
                    after = events[-1].sequence
                    if isinstance(events[-1].event, JobCompleted):
                        return
                if record.job.state.has_ended:
                    return
                if self._changes.is_closing:
                    raise UnreachableError("this server ends; go on at another one")
                await changed_within(changed, _LOOK_EVERY_S)

    async def cancel(self, tenant_id: str, job_id: str) -> Job:
        """End a job, unless it has ended.

        Raises:
            JobNotFoundError: the tenant has no such job.
            DependencyUnavailableError: jobs cannot be written now.
        """

        def change(record: Record) -> Change | None:
            return cancelled(record, self._clock())

        before, after = await self._change(tenant_id, job_id, change)
        if after is not before:
            measures.observe_end(after.job)
        return after.job

    async def page(
        self, tenant_id: str, choice: Choice, page_size: int, page_token: str
    ) -> JobPage:
        """Return a page of jobs, the newest first.

        Raises:
            DependencyUnavailableError: jobs cannot be read now.
        """
        found: list[Job] = []
        before, scanned = page_token, 0
        while scanned < _MOST_SCANNED:
            rows = await self._records.newest(
                tenant_id, before=before, count=_SCAN, dead=choice.dead_letters
            )
            for job_id, record in rows:
                before = job_id
                if record is None:
                    await self._records.forget(tenant_id, job_id)
                elif choice.has(record):
                    found.append(record.job)
                    if len(found) == page_size:
                        return JobPage(tuple(found), before)
            scanned += len(rows)
            if len(rows) < _SCAN:
                return JobPage(tuple(found))
        return JobPage(tuple(found), before)

    async def retry(self, tenant_id: str, job_id: str, traceparent: str) -> Job:
        """Try a dead letter again, as a new job; asked again, return that one.

        Raises:
            JobNotFoundError: the tenant has no such job.
            NotADeadLetterError: it is none.
            OverloadedError: too many of the tenant's jobs are unfinished.
            JobsFullError: the tenant's jobs may hold no more bytes than they do.
            DependencyUnavailableError: jobs cannot be written now.
        """
        old = await self._records.load(tenant_id, job_id)
        if old.retried_as:
            return (await self._records.load(tenant_id, old.retried_as)).job
        if not old.job.dead_letter:
            raise NotADeadLetterError(f"{job_id}: is no dead letter", job_id=job_id)
        content = await self._records.load_input(tenant_id, job_id)
        submission = Submission(
            tenant_id, old.job.kind, content, scope=old.job.scope, result_ttl_s=old.ttl_s
        )
        record, events = await self._anew(old, self._new(submission, traceparent))
        submitted = await self._create(record, content, events, f"again:{job_id}", "")

        def change(record: Record) -> Change | None:
            return tried_again(record, submitted.job.job_id) if not record.retried_as else None

        await self._change(tenant_id, job_id, change)
        return submitted.job

    async def _anew(self, old: Record, record: Record) -> tuple[Record, list[JobEvent]]:
        """Return a new job's record and events with the items that an old one has delivered."""
        now_s = record.job.created_at_s
        items = [each async for each in self._records.items(old.tenant_id, old.job.job_id)]
        job = replace(
            record.job,
            progress=old.job.progress,
            retry_of=old.job.job_id,
            item_count=len(items),
            revision=1 + len(items),
        )
        told: list[JobChanged | JobItem] = [JobChanged(replace(job, revision=1)), *items]
        events = [JobEvent(number, now_s, each) for number, each in enumerate(told, 1)]
        return replace(record, job=job, item_bytes=old.item_bytes), events

    def _new(self, submission: Submission, traceparent: str) -> Record:
        now_s = self._clock()
        job = Job(
            job_id=f"{id_at(now_s)}{secrets.token_hex(6)}",
            kind=submission.kind,
            state=JobState.QUEUED,
            created_at_s=now_s,
            expires_at_s=now_s + self._terms.unfinished_ttl_s,
            revision=1,
            scope=submission.scope,
        )
        ttl_s = submission.result_ttl_s
        return Record(
            submission.tenant_id,
            job,
            ttl_s=self._terms.result_ttl_s if ttl_s is None else ttl_s,
            due_s=now_s,
            traceparent=traceparent,
        )

    async def _create(
        self, record: Record, content: bytes, events: Sequence[JobEvent], key: str, digest: str
    ) -> Submitted:
        count = self._terms.unfinished_count
        kept = await self._records.create(Creation(record, content, events, key, digest, count))
        if kept.full == "bytes":
            raise JobsFullError(
                f"the jobs of tenant {record.tenant_id} hold as many bytes as they may",
                retry_after_s=_COME_BACK_AFTER_FULL_S,
            )
        if not kept.job_id:
            raise OverloadedError(
                f"{count} jobs of tenant {record.tenant_id} are unfinished",
                retry_after_s=_COME_BACK_AFTER_S,
                cause="jobs",
            )
        if kept.digest != digest:
            raise IdempotencyKeyReusedError(
                "idempotency_key: was used for another job", job_id=kept.job_id
            )
        created = kept.job_id == record.job.job_id
        if not created:
            record = await self._records.load(record.tenant_id, kept.job_id)
        if record.job.state is JobState.QUEUED:
            await self._call_for(record)
        return Submitted(record.job, created)

    async def _call_for(self, record: Record) -> None:
        """Issue a ticket; without one, a worker finds the job by itself a little later."""
        try:
            await self._tickets.issue(record.tenant_id, record.job.job_id)
        except DependencyUnavailableError as error:
            _LOG.warning("%s: %s", record.name, error)

    async def _change(
        self, tenant_id: str, job_id: str, change: Callable[[Record], Change | None]
    ) -> tuple[Record, Record]:
        """Make a change of what the job is now; return it as it was before and is after."""
        for _ in range(_MOST_TRIES):
            record = await self._records.load(tenant_id, job_id)
            wanted = change(record)
            if wanted is None:
                return record, record
            if await self._records.commit(wanted, now_s=self._clock()) is Outcome.DONE:
                return record, wanted.after
        raise DependencyUnavailableError(f"{job_id} changes too fast", retry_after_s=1.0)

    async def _with_result(self, record: Record) -> Job:
        job = record.job
        if job.state is not JobState.SUCCEEDED:
            return job
        events = await self._records.events(record.tenant_id, job.job_id, job.revision - 1)
        last = events[-1].event if events else None
        if not isinstance(last, JobCompleted):
            raise JobNotFoundError(f"job {job.job_id} has expired", job_id=job.job_id)
        return last.job
