"""One attempt at one job, from its begin to its last word."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from opentelemetry.trace import Span
from pydantic import ValidationError

from libs.budget import Budget, adopt
from libs.errors import FencedError, InternalError, InvalidFieldError, JobNotFoundError, MeshError
from libs.resilience.priority import be_background
from libs.telemetry import current_trace_id, names, root_span
from libs.values.jobs import MAX_RESULT_BYTES, JobError, JobState
from services.jobs import measures
from services.jobs.kinds import Clients, Kind, Meter, Task
from services.jobs.record import Change, Record, began, failed, postponed, succeeded
from services.jobs.records import Records
from services.jobs.worker.notes import Notes, TooLargeError
from services.jobs.worker.pen import Pen, patiently
from services.jobs.worker.terms import Terms, is_passing

_LOG = logging.getLogger(__name__)
# How long work that was cancelled may take to end.
_LET_GO_S = 5.0
_CANCEL_AGAIN_S = 0.25
_LARGE_BYTES = 64 * 1024


class Stop(Enum):
    """Why an attempt is ended from outside."""

    LOST = "lost"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Parts:
    """What all attempts of a worker have in common; `clock` gives Unix time."""

    records: Records
    clients: Clients
    terms: Terms
    clock: Callable[[], float] = time.time


class _StoppedError(Exception):
    """The work was cancelled because the attempt is to end."""


class _TimedOutError(Exception):
    """The work took longer than an attempt may."""


class Attempt:
    """One attempt at one job.

    Attributes:
        begun: set once the job is this attempt's, or will not be.
        due_s: Unix time from which on the job is to be tried again; None if it is not.
    """

    def __init__(self, record: Record, kind: Kind[Any], parts: Parts) -> None:
        """Try what `record` was, when it was last looked at, to do."""
        self.begun = asyncio.Event()
        self.due_s: float | None = None
        self._kind = kind
        self._parts = parts
        self._owner = secrets.token_hex(8)
        self._number = record.job.attempt + 1
        self._meter = Meter()
        self._pen = Pen(parts.records, record, self._lose, parts.clock, self._meter)
        self._work: asyncio.Task[Mapping[str, Any]] | None = None
        self._notes: Notes | None = None
        self._telling: asyncio.Task[None] | None = None
        self._stop: Stop | None = None

    @property
    def record(self) -> Record:
        """The job as it was last seen."""
        return self._pen.record

    @property
    def number(self) -> int:
        """Which attempt it is, from 1; the fencing token of all it writes."""
        return self._number

    def stop(self, why: Stop) -> None:
        """End the work; the first reason counts."""
        if why is Stop.RELEASED and self._work is not None and self._work.done():
            # All that is left is to say what it found.
            return
        self._stop = self._stop or why
        if self._notes is not None:
            self._notes.close()
        self._cancel_work()

    def _cancel_work(self) -> None:
        """Cancel the work until it ends: a wait for Redis may swallow it (CPython bpo-42130)."""
        if self._work is not None and not self._work.done():
            self._work.cancel()
            asyncio.get_running_loop().call_later(_CANCEL_AGAIN_S, self._cancel_work)

    def _lose(self) -> None:
        self.stop(Stop.LOST)

    async def run(self) -> None:
        """Begin, work, and say how it ended."""
        job = self.record.job
        attributes: dict[str, str | int] = {
            names.TENANT_ID: self.record.tenant_id,
            names.JOB_ID: job.job_id,
            names.JOB_KIND: job.kind,
            names.JOB_ATTEMPT: self._number,
        }
        with root_span(f"job {job.kind}", attributes, self.record.traceparent) as span:
            try:
                await self._begin()
                outcome = await self._try()
            except (FencedError, JobNotFoundError):
                outcome = Stop.LOST.value
            finally:
                self.begun.set()
            measures.count_attempt(job.kind, outcome)
            _describe(span, outcome)

    async def _begin(self) -> None:
        trace_id, looked_at = current_trace_id(), self.record.job.revision

        def change(record: Record, now_s: float) -> Change:
            # Whatever has happened since, somebody looks after the job.
            if record.job.revision != looked_at:
                raise FencedError(f"{record.name}: another worker was first")
            return began(record, owner=self._owner, trace_id=trace_id, now_s=now_s)

        before = self.record
        await self._pen.write(change)
        if before.job.state is JobState.QUEUED:
            measures.observe_begin(before.job, self._parts.clock() - before.due_s)
        self.begun.set()

    async def _try(self) -> str:
        """Do the work and say how it ended, once more in one word."""
        try:
            return await self._succeed(await self._do())
        except _StoppedError:
            return await self._release() if self._stop is Stop.RELEASED else Stop.LOST.value
        except _TimedOutError:
            limit_s = self._parts.terms.limit_of(self._kind.name)
            return await self._fail(JobError("TIMED_OUT", f"took longer than {limit_s:g} s"))
        except TooLargeError as error:
            return await self._fail(JobError("RESULT_TOO_LARGE", str(error)), dead_letter=False)
        except (FencedError, JobNotFoundError):
            raise
        except MeshError as error:
            return await self._fail_or_wait(error)
        except Exception:  # noqa: BLE001 - the outer edge of a job, and it is logged
            incident = secrets.token_hex(8)
            _LOG.exception("incident %s in job %s", incident, self.record.name)
            return await self._fail(JobError(InternalError.reason, f"incident {incident}"))

    async def _do(self) -> bytes:
        """Return the result as JSON text.

        Raises:
            MeshError: what the kind of job has raised.
            TooLargeError: it found more than can be kept.
        """
        record, limit_s = self.record, self._parts.terms.limit_of(self._kind.name)
        given = await self._read(await patiently(self._input))
        notes = Notes(self._pen, self._number, await patiently(self._items))
        self._notes = notes
        task = Task(
            record.tenant_id, record.job.job_id, self._number, record.job.scope, self._meter
        )
        # Held as long as this: the loop alone does not keep a task.
        self._telling = asyncio.create_task(notes.keep_telling())
        try:
            # What a job spends is its own: nobody's deadline is behind it.
            adopt(Budget.of(limit_s))
            be_background()
            result = await self._worked(task, given, notes, limit_s)
            await notes.tell()
        finally:
            notes.close()
        return await _written(result)

    async def _worked(
        self, task: Task, given: Any, notes: Notes, limit_s: float
    ) -> Mapping[str, Any]:
        clients = self._parts.clients
        self._work = work = asyncio.ensure_future(self._kind.run(task, given, notes, clients))
        if self._stop is not None:
            self._cancel_work()
        try:
            await asyncio.wait({work}, timeout=limit_s)
            if not work.done():
                raise _TimedOutError
        finally:
            if not work.done():
                self._cancel_work()
                await asyncio.wait({work}, timeout=_LET_GO_S)
                work.add_done_callback(_forgotten)
        if self._stop is not None:
            # What came of it meanwhile is of no interest, and may be half of it.
            _forgotten(work)
            raise _StoppedError
        if work.cancelled():
            raise InternalError("the work has cancelled itself")
        return work.result()

    async def _input(self) -> bytes:
        record = self.record
        return await self._parts.records.load_input(record.tenant_id, record.job.job_id)

    async def _items(self) -> dict[str, Mapping[str, Any]]:
        record = self.record
        if not record.job.item_count:
            return {}
        found = self._parts.records.items(record.tenant_id, record.job.job_id)
        return {each.key: json.loads(each.value) async for each in found}

    async def _read(self, content: bytes) -> Any:
        """Return what the kind is given.

        Raises:
            InvalidFieldError: this version of the kind does not take it.
        """
        read = self._kind.input.model_validate_json
        try:
            if len(content) > _LARGE_BYTES:
                return await asyncio.to_thread(read, content)
            return read(content)
        except ValidationError as error:
            raise InvalidFieldError("input", "is none that this worker takes") from error

    async def _succeed(self, result: bytes) -> str:
        number = self._number
        await self._pen.write(lambda record, now_s: succeeded(record, number, result, now_s))
        return self._ended()

    async def _fail(self, error: JobError, *, dead_letter: bool = True) -> str:
        number = self._number

        def change(record: Record, now_s: float) -> Change:
            return failed(record, number, error, dead_letter=dead_letter, now_s=now_s)

        await self._pen.write(change)
        return self._ended()

    async def _fail_or_wait(self, error: MeshError) -> str:
        told, failures = JobError(error.reason, str(error)), self.record.failures + 1
        wait_s = self._parts.terms.wait_s(error, failures, random.random)
        if wait_s is None:
            is_dead = is_passing(error) or isinstance(error, InternalError)
            return await self._fail(told, dead_letter=is_dead)
        await self._postpone(told, wait_s)
        return "retried"

    async def _release(self) -> str:
        """Leave the job to another worker at once; this attempt is not to blame."""
        await self._postpone(None, 0.0)
        return Stop.RELEASED.value

    async def _postpone(self, error: JobError | None, wait_s: float) -> None:
        number = self._number

        def change(record: Record, now_s: float) -> Change:
            return postponed(record, number, error, due_s=now_s + wait_s, now_s=now_s)

        await self._pen.write(change)
        self.due_s = self.record.due_s

    def _ended(self) -> str:
        measures.observe_end(self.record.job)
        return self.record.job.state.name.lower()


def _forgotten(work: asyncio.Task[Any]) -> None:
    """Take note of what work that was given up has raised: nobody else does."""
    if not work.cancelled():
        work.exception()


async def _written(result: Mapping[str, Any]) -> bytes:
    """Return a result as JSON text.

    Raises:
        TooLargeError: it is larger than can be kept.
    """
    data = await asyncio.to_thread(_dumped, result)
    if len(data) > MAX_RESULT_BYTES:
        raise TooLargeError(f"the result has {len(data)} bytes, {MAX_RESULT_BYTES} can be kept")
    return data


def _dumped(result: Mapping[str, Any]) -> bytes:
    return json.dumps(result, ensure_ascii=False, allow_nan=False).encode()


def _describe(span: Span, outcome: str) -> None:
    span.set_attribute(names.JOB_STATE, outcome)
    if outcome == "failed":
        span.set_attribute(names.ERROR_TYPE, outcome)
