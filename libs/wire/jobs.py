"""`hasten.jobs.v1` to values and back."""

from __future__ import annotations

from google.protobuf import timestamp_pb2

from hasten.jobs.v1 import jobs_service_pb2 as pb
from libs.values.jobs import (
    Job,
    JobChanged,
    JobCompleted,
    JobError,
    JobEvent,
    JobItem,
    JobProgress,
    JobState,
)
from libs.wire.basics import usage_from, usage_to

_NANOS = 1_000_000_000


def job_to(job: Job) -> pb.Job:
    """Return the message of a job."""
    return pb.Job(
        job_id=job.job_id,
        kind=job.kind,
        state=int(job.state),  # type: ignore[arg-type]
        progress=_progress_to(job.progress),
        result=job.result,
        error=None if job.error is None else _error_to(job.error),
        attempt=job.attempt,
        created_at=_timestamp(job.created_at_s),
        started_at=_timestamp(job.started_at_s),
        ended_at=_timestamp(job.ended_at_s),
        expires_at=_timestamp(job.expires_at_s),
        revision=job.revision,
        trace_id=job.trace_id,
        dead_letter=job.dead_letter,
        scope=job.scope,
        retry_of=job.retry_of,
        item_count=job.item_count,
        usage=usage_to(job.usage),
    )


def job_from(message: pb.Job) -> Job:
    """Return the job of a message."""
    return Job(
        job_id=message.job_id,
        kind=message.kind,
        state=_state(message.state),
        created_at_s=_unix_s(message.created_at),
        expires_at_s=_unix_s(message.expires_at),
        revision=message.revision,
        progress=_progress_from(message.progress),
        result=message.result,
        error=_error_from(message.error) if message.HasField("error") else None,
        attempt=message.attempt,
        started_at_s=_unix_s(message.started_at) if message.HasField("started_at") else None,
        ended_at_s=_unix_s(message.ended_at) if message.HasField("ended_at") else None,
        trace_id=message.trace_id,
        dead_letter=message.dead_letter,
        scope=message.scope,
        retry_of=message.retry_of,
        item_count=message.item_count,
        usage=usage_from(message.usage),
    )


def job_event_to(event: JobEvent) -> pb.JobEvent:
    """Return the message of an event."""
    message = pb.JobEvent(sequence=event.sequence, at=_timestamp(event.at_s))
    match event.event:
        case JobChanged(job):
            message.state.CopyFrom(job_to(job))
        case JobProgress():
            message.progress.CopyFrom(_progress_to(event.event))
        case JobItem(key, value):
            message.item.CopyFrom(pb.JobItem(key=key, value=value))
        case JobCompleted(job):
            message.completed.CopyFrom(job_to(job))
    return message


def job_event_from(message: pb.JobEvent) -> JobEvent:
    """Return the event of a message.

    Raises:
        ValueError: it is of a kind that this version does not know.
    """
    event: JobChanged | JobProgress | JobItem | JobCompleted
    match message.WhichOneof("event"):
        case "state":
            event = JobChanged(job_from(message.state))
        case "progress":
            event = _progress_from(message.progress)
        case "item":
            event = JobItem(message.item.key, message.item.value)
        case "completed":
            event = JobCompleted(job_from(message.completed))
        case other:
            raise ValueError(f"no such event: {other}")
    return JobEvent(message.sequence, _unix_s(message.at), event)


def _progress_to(progress: JobProgress) -> pb.JobProgress:
    return pb.JobProgress(
        percent=progress.percent,
        done=progress.done,
        total=progress.total,
        stage=progress.stage,
        message=progress.message,
    )


def _progress_from(message: pb.JobProgress) -> JobProgress:
    return JobProgress(message.percent, message.done, message.total, message.stage, message.message)


def _error_to(error: JobError) -> pb.JobError:
    return pb.JobError(reason=error.reason, message=error.message)


def _error_from(message: pb.JobError) -> JobError:
    return JobError(message.reason, message.message)


def _state(number: int) -> JobState:
    """Return a state; one that a newer server knows is unspecified here."""
    try:
        return JobState(number)
    except ValueError:
        return JobState.UNSPECIFIED


def _timestamp(unix_s: float | None) -> timestamp_pb2.Timestamp | None:
    if unix_s is None:
        return None
    # Microseconds: what a double holds of Unix time.
    seconds, micros = divmod(round(unix_s * 1e6), 1_000_000)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=micros * 1000)


def _unix_s(message: timestamp_pb2.Timestamp) -> float:
    return message.seconds + message.nanos / _NANOS
