"""What is kept of a job, and how it may change: plain values, no Redis in here.

A job that runs belongs to one attempt, and the number of the attempt is its fencing token
(Kleppmann, "How to do distributed locking", 2016): whoever comes with another number was
taken for dead, and changes nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from libs.errors import FencedError
from libs.values import Usage
from libs.values.jobs import (
    Job,
    JobChanged,
    JobCompleted,
    JobError,
    JobEvent,
    JobHappening,
    JobItem,
    JobProgress,
    JobState,
)

_WHOLE = 100.0


@dataclass(frozen=True, slots=True)
class Record:
    """A job with what only its keepers need to know.

    Attributes:
        tenant_id: whose it is.
        job: as callers see it, never with its result: that is in its last event.
        ttl_s: seconds that it is kept once it has ended.
        due_s: Unix time from which on it may be tried, while it waits.
        failures: attempts that came to nothing.
        owner: names the worker's claim that made the attempt under way.
        traceparent: of the request that submitted it; empty if it was not traced.
        item_bytes: what its items take.
        retried_as: the job that tries this dead letter again; empty if none does.
        is_suspect: True if its worker has died, and no attempt has ended by itself since.
    """

    tenant_id: str
    job: Job
    ttl_s: float
    due_s: float
    failures: int = 0
    owner: str = ""
    traceparent: str = ""
    item_bytes: int = 0
    retried_as: str = ""
    is_suspect: bool = False

    @property
    def name(self) -> str:
        """What the job is called among those of all tenants."""
        return f"{self.tenant_id}/{self.job.job_id}"

    def to_json(self) -> bytes:
        """Return the record as it is kept."""
        return json.dumps(asdict(self) | {"job": _job_members(self.job)}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Record:
        """Return the record that `to_json` wrote."""
        members = json.loads(data)
        return cls(**members | {"job": _job_of(members["job"])})


@dataclass(frozen=True, slots=True)
class Change:
    """A record as it is to be, and the events that tell of it.

    Attributes:
        before: what it is changed from; a change of anything else is refused.
        after: what it is to be.
        events: numbered behind those that there are.
        item_key: the item that is delivered; empty if none is.
    """

    before: Record
    after: Record
    events: tuple[JobEvent, ...]
    item_key: str = ""


def began(record: Record, *, owner: str, trace_id: str, now_s: float) -> Change:
    """Give the job to a new attempt; one that was under way can tell nothing more."""
    job = record.job
    started_s = now_s if job.started_at_s is None else job.started_at_s
    job = replace(
        job,
        state=JobState.RUNNING,
        attempt=job.attempt + 1,
        started_at_s=started_s,
        trace_id=trace_id,
    )
    return _told(record, replace(record, job=job, owner=owner), now_s)


def lost(record: Record) -> Record:
    """Return the record of a job whose worker has died, with all that it did.

    Which of its jobs has killed it nobody knows, so each becomes a suspect, and none is blamed. A
    worker does one suspect at a time: if it dies again, that one is to blame, and only that.
    """
    error = JobError("WORKER_LOST", "the worker that tried it has died")
    failures = record.failures + record.is_suspect
    job = replace(record.job, error=error)
    return replace(record, job=job, failures=failures, is_suspect=True)


def went_on(record: Record, attempt: int, progress: JobProgress, now_s: float) -> Change | None:
    """Note progress; None if it says nothing new, or less than is known.

    Raises:
        FencedError: the attempt is not the one under way.
    """
    _check(record, attempt)
    known = record.job.progress
    if progress == known or progress.percent < known.percent:
        return None
    after = replace(record, job=replace(record.job, progress=progress))
    return _change(record, after, [progress], now_s)


def delivered(record: Record, attempt: int, item: JobItem, now_s: float) -> Change:
    """Keep an item.

    Raises:
        FencedError: the attempt is not the one under way.
    """
    _check(record, attempt)
    job = replace(record.job, item_count=record.job.item_count + 1)
    size = record.item_bytes + len(item.key) + len(item.value)
    change = _change(record, replace(record, job=job, item_bytes=size), [item], now_s)
    return replace(change, item_key=item.key)


def succeeded(record: Record, attempt: int, result: bytes, now_s: float) -> Change:
    """End the job with its result.

    Raises:
        FencedError: the attempt is not the one under way.
    """
    _check(record, attempt)
    progress = replace(record.job.progress, percent=_WHOLE)
    job = replace(record.job, state=JobState.SUCCEEDED, progress=progress, error=None)
    return _ended(record, job, now_s, result)


def postponed(
    record: Record, attempt: int, error: JobError | None, *, due_s: float, now_s: float
) -> Change:
    """Let the job wait for its next attempt.

    Args:
        record: what is known of it.
        attempt: the one that gives it up.
        error: why; None if the attempt is not to blame, and none is counted.
        due_s: Unix time of the next attempt.
        now_s: Unix time.

    Raises:
        FencedError: the attempt is not the one under way.
    """
    _check(record, attempt)
    job = replace(record.job, state=JobState.QUEUED, error=error)
    has_failed = error is not None
    after = replace(
        record,
        job=job,
        failures=record.failures + has_failed,
        owner="",
        due_s=due_s,
        is_suspect=record.is_suspect and not has_failed,
    )
    return _told(record, after, now_s)


def failed(
    record: Record, attempt: int, error: JobError, *, dead_letter: bool, now_s: float
) -> Change:
    """End the job for good.

    Raises:
        FencedError: the attempt is not the one under way.
    """
    _check(record, attempt)
    return given_up(record, error, dead_letter=dead_letter, now_s=now_s)


def given_up(record: Record, error: JobError, *, dead_letter: bool, now_s: float) -> Change:
    """End the job for good, whoever has it."""
    job = replace(record.job, state=JobState.FAILED, error=error, dead_letter=dead_letter)
    return _ended(record, job, now_s)


def cancelled(record: Record, now_s: float) -> Change | None:
    """End the job because its owner wants so; None if it has ended before."""
    if record.job.state.has_ended:
        return None
    return _ended(record, replace(record.job, state=JobState.CANCELLED, error=None), now_s)


def tried_again(record: Record, job_id: str) -> Change:
    """Note that another job tries this dead letter again; no event tells of it."""
    job = replace(record.job, dead_letter=False, revision=record.job.revision + 1)
    return Change(record, replace(record, job=job, retried_as=job_id), ())


def percent_of(done: int, total: int) -> float:
    """Return the part that is done, in [0, 100]."""
    return min(_WHOLE, max(0.0, _WHOLE * done / total)) if total > 0 else 0.0


def _check(record: Record, attempt: int) -> None:
    job = record.job
    if job.state is not JobState.RUNNING or job.attempt != attempt:
        raise FencedError(f"{job.job_id}: attempt {attempt} is not under way", attempt=attempt)


def _ended(record: Record, job: Job, now_s: float, result: bytes = b"") -> Change:
    job = replace(
        job, ended_at_s=now_s, expires_at_s=now_s + record.ttl_s, revision=job.revision + 1
    )
    event = JobEvent(job.revision, now_s, JobCompleted(replace(job, result=result)))
    return Change(record, replace(record, job=job, owner=""), (event,))


def _told(record: Record, after: Record, now_s: float) -> Change:
    """Return a change that the job itself tells of, as it is then."""
    job = replace(after.job, revision=record.job.revision + 1)
    event = JobEvent(job.revision, now_s, JobChanged(job))
    return Change(record, replace(after, job=job), (event,))


def _change(
    record: Record, after: Record, happenings: Sequence[JobHappening], now_s: float
) -> Change:
    revision = record.job.revision
    events = tuple(
        JobEvent(revision + number, now_s, each) for number, each in enumerate(happenings, 1)
    )
    job = replace(after.job, revision=revision + len(events))
    return Change(record, replace(after, job=job), events)


def _job_members(job: Job) -> dict[str, Any]:
    return asdict(job) | {"result": "", "state": int(job.state)}


def _job_of(members: dict[str, Any]) -> Job:
    error = members["error"]
    made: dict[str, Any] = {
        "result": b"",
        "state": JobState(members["state"]),
        "progress": JobProgress(**members["progress"]),
        "error": None if error is None else JobError(**error),
        # Jobs that were taken on by an earlier version have none.
        "usage": Usage(**members.get("usage", {})),
    }
    return Job(**members | made)
