"""What is counted of jobs."""

from __future__ import annotations

from libs.telemetry import metrics
from libs.values.jobs import Job


def count_submitted(kind: str) -> None:
    """Count a job that was taken on."""
    metrics.count_job_submitted(kind)


def observe_begin(job: Job, waited_s: float) -> None:
    """Count how long a job that begins was due."""
    metrics.observe_job_begin(job.kind, max(0.0, waited_s))


def count_attempt(kind: str, outcome: str) -> None:
    """Count an attempt that has ended."""
    metrics.count_job_attempt(kind, outcome)


def observe_end(job: Job) -> None:
    """Count a job that has ended, and how long that took from its submission."""
    ended_s = job.created_at_s if job.ended_at_s is None else job.ended_at_s
    metrics.observe_job_end(job.kind, job.state.name, ended_s - job.created_at_s)
