"""Jobs and what happens to them, as callers over HTTP see them.

A result may be of many megabytes and is JSON already: it is put in as it is, not read and
written again while every other caller waits.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from libs.values.jobs import Job, JobChanged, JobCompleted, JobEvent, JobItem, JobProgress
from libs.values.jobs_json import job_members

SCHEMA = {
    "type": "object",
    "required": ["job_id", "kind", "state", "progress", "revision", "result", "error"],
    "properties": {
        "job_id": {"type": "string"},
        "kind": {"type": "string"},
        "state": {"enum": ["queued", "running", "succeeded", "failed", "cancelled", "unspecified"]},
        "progress": {
            "type": "object",
            "required": ["percent", "done", "total", "stage", "message"],
            "properties": {
                "percent": {"type": "number", "minimum": 0, "maximum": 100},
                "done": {"type": "integer"},
                "total": {"type": "integer"},
                "stage": {"type": "string"},
                "message": {"type": "string"},
            },
        },
        "revision": {"type": "integer"},
        "result": {"type": ["object", "null"]},
        "error": {"type": ["object", "null"]},
    },
}
LIST_SCHEMA = {
    "type": "object",
    "required": ["jobs", "next_page_token"],
    "properties": {
        "jobs": {"type": "array", "items": SCHEMA},
        "next_page_token": {"type": ["string", "null"]},
    },
}
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
