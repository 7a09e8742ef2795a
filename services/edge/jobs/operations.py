"""`/v1/jobs`: work that nobody waits for on the line."""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from libs.errors import JobNotFoundError, MeshError, NotADeadLetterError
from libs.values.jobs import Job, JobState, Submission, Submitted
from services.edge.answers.answering import Pace
from services.edge.jobs.body import IDEMPOTENCY_KEY, SubmitBody, submission_of
from services.edge.jobs.desk import CALL_S, Desk
from services.edge.jobs.showing import LIST_SCHEMA, SCHEMA, brief, event_frame, job_json
from services.edge.problem import Problem, ProblemError
from services.edge.web import sse
from services.edge.web.draining import OpenStreams
from services.edge.web.exchange import Exchange, json_response
from services.edge.web.operation import Operation, Parameter, Reply
from services.edge.web.query import (
    AFTER,
    LAST_EVENT_ID,
    PAGE_SIZE,
    PAGE_TOKEN,
    after_of,
    listed,
    page_of,
    refused,
    revision_of,
)
from services.edge.web.request import JSON

PATH = "/v1/jobs"
MOST_WAIT_S = 60
"""Seconds that a request is held at most: proxies cut what is silent for longer."""

_JOB_PATH = f"{PATH}/{{job}}"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_PREFERRED_WAIT = re.compile(
    r'(?:^|[,;])\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?:$|[,;])', re.IGNORECASE
)
_STATES = tuple(state.name.lower() for state in list(JobState)[1:])
# When it makes sense to look at a job that was just taken on.
_POLL_S = "1"

_JOB = Parameter("job", "path", "The job, as `job_id` names it.")
_WAIT = Parameter(
    "wait",
    "query",
    "Seconds to wait for a change since the revision of If-None-Match; without one, for the "
    "job's end.",
    {"type": "number", "minimum": 0, "maximum": MOST_WAIT_S},
)
_PREFER = Parameter("Prefer", "header", "`wait=<seconds>`: the same; the query wins.")
_KNOWN = Parameter("If-None-Match", "header", "The ETag of the job as the caller has it.")
_STATE = Parameter(
    "state",
    "query",
    "Only jobs in this state; may be given more than once.",
    {"type": "array", "items": {"enum": list(_STATES)}},
)
_KIND = Parameter(
    "kind",
    "query",
    "Only jobs of this kind; may be given more than once.",
    {"type": "array", "items": {"type": "string"}},
)
_DEAD = Parameter("dead_letters", "query", "Only dead letters.", {"type": "boolean"})
_SHOWN = {JSON: SCHEMA}
_LINKED = {"Location": "Where the job is.", "Retry-After": "Seconds after which to look."}
_TAGGED = {"ETag": "Its revision."}

ACCEPTED = Reply("The job was taken on.", _SHOWN, _LINKED)
KNOWN = Reply("It had been submitted before with the same key.", _SHOWN, _LINKED)


class Jobs:
    """Lets callers submit, look at, follow, cancel and repeat their jobs.

    Args:
        desk: the jobs service.
        pace: how often a stream shows life.
        streams: told when this process ends.
        max_job_bytes: the longest body of a submission.
    """

    def __init__(self, desk: Desk, pace: Pace, streams: OpenStreams, max_job_bytes: int) -> None:
        self._desk = desk
        self._pace = pace
        self._streams = streams
        self._max_job_bytes = max_job_bytes

    def operations(self) -> tuple[Operation, ...]:
        """Return what this can do."""
        return (self._submitting(), *self._looking(), *self._changing())

    def _looking(self) -> tuple[Operation, ...]:
        return (
            _operation(
                "GET",
                PATH,
                "listJobs",
                "List jobs without their results, the newest first.",
                self._list,
                {200: Reply("A page of jobs.", {JSON: LIST_SCHEMA})},
                parameters=(_STATE, _KIND, _DEAD, PAGE_SIZE, PAGE_TOKEN),
                refusals=(),
            ),
            _operation(
                "GET",
                _JOB_PATH,
                "getJob",
                "Look at a job; at once, or when it has changed.",
                self._get,
                {200: Reply("The job.", _SHOWN, _TAGGED), 304: Reply("It has not changed.")},
                parameters=(_JOB, _WAIT, _PREFER, _KNOWN),
                is_held=_says_wait,
            ),
            _operation(
                "GET",
                f"{_JOB_PATH}/events",
                "followJob",
                "Follow a job, from any event on.",
                self._events,
                {
                    200: Reply("The events after that one.", {sse.MEDIA_TYPE: sse.SCHEMA}),
                    204: Reply("The last event was seen: there is no more."),
                },
                parameters=(_JOB, AFTER, LAST_EVENT_ID),
                forms=(sse.MEDIA_TYPE,),
            ),
        )

    def _changing(self) -> tuple[Operation, ...]:
        return (
            _operation(
                "DELETE",
                _JOB_PATH,
                "cancelJob",
                "End a job, whether it waits or runs; one that has ended stays as it was.",
                self._cancel,
                {200: Reply("The job as it is now.", _SHOWN, _TAGGED)},
            ),
            _operation(
                "POST",
                f"{_JOB_PATH}/retry",
                "retryJob",
                "Try a dead letter again, as a new job.",
                self._retry,
                {202: Reply("The new job.", _SHOWN, _LINKED)},
                refusals=(404, 409),
            ),
        )

    def _submitting(self) -> Operation:
        return _operation(
            "POST",
            PATH,
            "submitJob",
            "Take a job on.",
            self._submit,
            {202: ACCEPTED, 200: KNOWN},
            body=SubmitBody,
            parameters=(IDEMPOTENCY_KEY,),
            max_body_bytes=self._max_job_bytes,
            refusals=(409,),
        )

    async def _submit(self, exchange: Exchange) -> Response:
        _ = self._desk.client  # before a long body is read for nothing
        tenant_id, raw = exchange.caller.tenant_id, await exchange.body()
        submission = submission_of(exchange.request, tenant_id, raw)
        return await submit(self._desk, exchange, submission)

    async def _list(self, exchange: Exchange) -> Response:
        query, caller = exchange.request.query_params, exchange.caller
        size, token = page_of(query)
        page = await exchange.while_here(
            self._desk.client.list(
                caller.tenant_id,
                states=[_state(each) for each in listed(query, "state")],
                kinds=listed(query, "kind"),
                dead_letters=_flag(query.get("dead_letters", "false"), "dead_letters"),
                page_size=size,
                page_token=token,
                limit_s=CALL_S,
            )
        )
        shown = [brief(job) | {"result": None} for job in page.jobs if caller.may_name(job.scope)]
        return json_response({"jobs": shown, "next_page_token": page.next_page_token or None})

    async def _get(self, exchange: Exchange) -> Response:
        known = revision_of(exchange.request.headers.get("if-none-match"))
        wait_s, preferred = _wait(exchange.request)
        job_id = _job_of(exchange)
        job = await exchange.while_here(self._desk.wait(exchange.caller, job_id, known, wait_s))
        applied = {"Preference-Applied": f"wait={wait_s:g}"} if preferred else {}
        if job.revision == known:
            return Response(status_code=304, headers=_head(job) | applied)
        return _shown(job, applied)

    async def _cancel(self, exchange: Exchange) -> Response:
        return _shown(await exchange.while_here(self._cancelled(exchange)))

    async def _cancelled(self, exchange: Exchange) -> Job:
        caller, job_id = exchange.caller, _job_of(exchange)
        await self._desk.get(caller, job_id)
        return await self._desk.client.cancel(caller.tenant_id, job_id, limit_s=CALL_S)

    async def _retry(self, exchange: Exchange) -> Response:
        return _accepted(await exchange.while_here(self._retried(exchange)))

    async def _retried(self, exchange: Exchange) -> Submitted:
        try:
            return await self._desk.retry(exchange.caller, _job_of(exchange))
        except NotADeadLetterError as error:
            raise ProblemError(Problem(409, error.reason, str(error))) from error

    async def _events(self, exchange: Exchange) -> Response | None:
        job_id, after = _job_of(exchange), after_of(exchange.request)
        job = await exchange.while_here(self._desk.get(exchange.caller, job_id))
        if job.state.has_ended and after >= job.revision:
            # An EventSource comes again after each end, until it is told that there is no more.
            return Response(status_code=204)
        await exchange.while_here(self._streamed(exchange, job_id, after))
        await exchange.stream.end()
        return None

    async def _streamed(self, exchange: Exchange, job_id: str, after: int) -> None:
        stream = exchange.stream
        stream.retry_ms = self._pace.retry_ms
        with self._streams.told(stream):
            async with stream.kept_awake(self._pace.ping_every_s):
                try:
                    await self._relayed(exchange, job_id, after)
                except MeshError as error:
                    if not stream.begun or isinstance(error, JobNotFoundError):
                        raise
                    resume_at = f"{PATH}/{job_id}/events"
                    problem = replace(Problem.of(error), resume_at=resume_at)
                    raise ProblemError(problem) from error

    async def _relayed(self, exchange: Exchange, job_id: str, after: int) -> None:
        async with aclosing(self._desk.follow(exchange.caller, job_id, after)) as events:
            async for each in events:
                await exchange.stream.write(event_frame(each))


async def submit(desk: Desk, exchange: Exchange, submission: Submission) -> Response:
    """Hand a job over, and say where it is."""
    return _accepted(await exchange.while_here(desk.submit(exchange.caller, submission)))


def _accepted(submitted: Submitted) -> Response:
    job = submitted.job
    headers = {"Location": f"{PATH}/{job.job_id}", "Retry-After": _POLL_S, **_head(job)}
    return Response(job_json(job), 202 if submitted.created else 200, headers, JSON)


def _shown(job: Job, more: dict[str, str] | None = None) -> Response:
    waits = {} if job.state.has_ended else {"Retry-After": _POLL_S}
    return Response(job_json(job), 200, {**_head(job), **waits, **(more or {})}, JSON)


def _head(job: Job) -> dict[str, str]:
    # It may be kept to be compared, by nobody but its owner.
    return {"ETag": f'"{job.revision}"', "Cache-Control": "private, no-cache"}


def _operation(
    method: str, path: str, name: str, summary: str, handle: Any, replies: Any, **more: Any
) -> Operation:
    given = {"parameters": (_JOB,), "refusals": (404,)} | more
    return Operation(method, path, name, summary, handle, "jobs", replies, **given)


def _job_of(exchange: Exchange) -> str:
    job_id = exchange.path("job")
    if not _NAME.fullmatch(job_id):
        raise JobNotFoundError(f"job_id: {job_id!r} is not known, or has expired")
    return job_id


def _says_wait(request: Request) -> bool:
    return "wait" in request.query_params or "wait" in request.headers.get("prefer", "").lower()


def _wait(request: Request) -> tuple[float, bool]:
    """Return how long to wait, and whether that is a preference that is to be confirmed."""
    said = request.query_params.get("wait")
    if said is not None:
        return _seconds(said), False
    preferred = _PREFERRED_WAIT.search(request.headers.get("prefer", ""))
    if preferred is None:
        return 0.0, False
    return float(min(int(preferred[1]), MOST_WAIT_S)), True


def _seconds(text: str) -> float:
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = -1.0
    if not 0 <= wait_s <= MOST_WAIT_S:
        raise refused("wait", f"must be 0 to {MOST_WAIT_S} seconds")
    return wait_s


def _state(name: str) -> JobState:
    if name not in _STATES:
        raise refused("state", f"must be one of {', '.join(_STATES)}")
    return JobState[name.upper()]


def _flag(text: str, name: str) -> bool:
    if text not in ("true", "false"):
        raise refused(name, "must be true or false")
    return text == "true"
