"""Jobs and their events as JSON objects; times are Unix seconds."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from libs.values.jobs import Job, JobChanged, JobCompleted, JobEvent, JobItem, JobProgress


def job_members(job: Job) -> dict[str, Any]:
    """Return a job as one JSON object; `result` is null unless it is there."""
    members = asdict(job) | {"state": job.state.name.lower()}
    members["result"] = json.loads(job.result) if job.result else None
    return members


def job_event_members(event: JobEvent) -> dict[str, Any]:
    """Return an event as one JSON object: its name, number and time, and what it tells."""
    told: dict[str, Any]
    match event.event:
        case JobChanged(job):
            name, told = "state", {"job": job_members(job)}
        case JobProgress():
            name, told = "progress", {"progress": asdict(event.event)}
        case JobItem(key, value):
            name, told = "item", {"key": key, "value": json.loads(value)}
        case JobCompleted(job):
            name, told = "completed", {"job": job_members(job)}
    return {"event": name, "sequence": event.sequence, "at_s": event.at_s} | told
