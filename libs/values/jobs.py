"""Values of `hasten.jobs.v1`; each means what the proto's comment says.

Times are Unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from libs.values.basics import Usage

MAX_INPUT_BYTES = 16 * 1024 * 1024
MAX_RESULT_BYTES = 16 * 1024 * 1024


class JobState(IntEnum):
    """Where a job stands."""

    UNSPECIFIED = 0
    QUEUED = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    CANCELLED = 5

    @property
    def has_ended(self) -> bool:
        """True for the states that never change."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job has come; `percent` is in [0, 100]."""

    percent: float = 0.0
    done: int = 0
    total: int = 0
    stage: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work and what became of it; `result` is JSON text."""

    job_id: str
    kind: str
    state: JobState
    created_at_s: float
    expires_at_s: float
    revision: int
    progress: JobProgress = field(default_factory=JobProgress)
    result: bytes = b""
    error: JobError | None = None
    attempt: int = 0
    started_at_s: float | None = None
    ended_at_s: float | None = None
    trace_id: str = ""
    dead_letter: bool = False
    scope: str = ""
    retry_of: str = ""
    item_count: int = 0
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Submission:
    """A job to do; `input` is JSON text, and no `result_ttl_s` leaves it to the server."""

    tenant_id: str
    kind: str
    input: bytes
    idempotency_key: str = ""
    scope: str = ""
    result_ttl_s: float | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that was taken on, or had been before."""

    job: Job
    created: bool


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, the newest first; an empty token after the last page."""

    jobs: tuple[Job, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class JobChanged:
    """A job is in another state, or a new attempt began; without its result."""

    job: Job


@dataclass(frozen=True, slots=True)
class JobItem:
    """A part of a result; `value` is JSON text."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class JobCompleted:
    """A job has ended; with its result or error."""

    job: Job


JobHappening = JobChanged | JobProgress | JobItem | JobCompleted


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One thing that happened to a job."""

    sequence: int
    at_s: float
    event: JobHappening
