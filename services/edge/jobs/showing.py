"""Jobs and what happens to them, as callers over HTTP see them.

A result may be of many megabytes and is JSON already: it is put in as it is, not read and
written again while every other caller waits.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from libs.values.jobs import (
    Job,
    JobChanged,
    JobCompleted,
    JobEvent,
    JobItem,
    JobProgress,
    JobState,
)
from libs.values.jobs_json import job_members
from services.edge.answers.shapes import FLAG, NUMBER, TEXT, WHOLE, nullable, record

SCHEMA = record(
    job_id=TEXT,
    kind=TEXT,
    state={"enum": [state.name.lower() for state in JobState]},
    created_at_s=NUMBER,
    expires_at_s=NUMBER,
    revision=WHOLE,
    progress=record(percent=NUMBER, done=WHOLE, total=WHOLE, stage=TEXT, message=TEXT),
    result={"type": ["object", "null"]},
    error=nullable(record(reason=TEXT, message=TEXT)),
    attempt=WHOLE,
    started_at_s=nullable(NUMBER),
    ended_at_s=nullable(NUMBER),
    trace_id=TEXT,
    dead_letter=FLAG,
    scope=TEXT,
    retry_of=TEXT,
    item_count=WHOLE,
    usage=record(
        input_tokens=WHOLE,
        output_tokens=WHOLE,
        cache_read_tokens=WHOLE,
        cache_write_tokens=WHOLE,
    ),
)
LIST_SCHEMA = record(
    jobs={"type": "array", "items": SCHEMA},
    next_page_token=nullable(TEXT),
)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def job_json(job: Job) -> bytes:
    """Return a job as one JSON object on one line."""
    return _with(brief(job), "result", job.result)


def brief(job: Job) -> dict[str, Any]:
    """Return a job without its result."""
    members = job_members(replace(job, result=b""))
    del members["result"]
    return members


def event_name(event: JobEvent) -> str:
    """Return the name under which an event goes into an event stream."""
    return _NAMES[type(event.event)]


_NAMES: dict[type[Any], str] = {
    JobChanged: "state",
    JobProgress: "progress",
    JobItem: "item",
    JobCompleted: "completed",
}


def event_json(event: JobEvent) -> bytes:
    """Return what an event tells, as one JSON object on one line."""
    match event.event:
        case JobChanged(job) | JobCompleted(job):
            return job_json(job)
        case JobItem(key, value):
            return _with({"key": key}, "value", value)
        case JobProgress() as progress:
            return _encode(asdict(progress)).encode()


def event_frame(event: JobEvent) -> bytes:
    """Return an event as a server-sent event."""
    head = f"id: {event.sequence}\nevent: {event_name(event)}\ndata: ".encode()
    return head + event_json(event) + b"\n\n"


def _with(members: dict[str, Any], name: str, raw: bytes) -> bytes:
    """Return an object with one more member, whose value is JSON already."""
    # Between values JSON may have line breaks, which would end a server-sent event.
    value = raw.replace(b"\n", b" ").replace(b"\r", b" ") if raw else b"null"
    return b'%b,"%b":%b}' % (_encode(members).encode()[:-1], name.encode(), value)
