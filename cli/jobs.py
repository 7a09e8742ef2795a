"""`hasten jobs`: submits background jobs, and shows, follows, ends and repeats them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.bars import clean
from cli.clients import connected
from cli.home import Home
from cli.options import Json, SlipError, Tenant, seconds_of
from libs.clients.jobs import JobsClient
from libs.errors import DependencyUnavailableError, UnreachableError
from libs.values.jobs import (
    Job,
    JobChanged,
    JobCompleted,
    JobEvent,
    JobItem,
    JobProgress,
    JobState,
    Submission,
)
from libs.values.jobs_json import job_event_members, job_members

app = typer.Typer(help="Submit and follow background jobs.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="The job.")]
_LIMIT_S = 30.0
_STDIN = "-"
_STATES = {each.name.lower(): each for each in JobState if each}
_AGAIN_AFTER_S = 0.5


@app.command()
def submit(
    kind: Annotated[
        str,
        typer.Argument(help="ingest, analyze, classify, extract, summarize, report or answer."),
    ],
    given: Annotated[
        str, typer.Argument(metavar="INPUT", help="A JSON object, @FILE with one, or - for stdin.")
    ],
    tenant: Tenant = "default",
    key: Annotated[str, typer.Option(help="Submitted once under this key.")] = "",
    scope: Annotated[str, typer.Option(help="Access scope of the documents.")] = "",
    ttl: Annotated[str | None, typer.Option(help="How long the result is kept: 30s, 60m.")] = None,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    as_json: Json = False,
) -> None:
    """Submit a job; with --wait, follow it to its end."""
    ttl_s = None if ttl is None else seconds_of(ttl, "--ttl")
    submission = Submission(tenant, kind, _content(given), key, scope, ttl_s)

    async def work() -> Job:
        async with _client() as client:
            return (await client.submit(submission, limit_s=_LIMIT_S)).job

    job = asyncio.run(work())
    if wait:
        _follow(tenant, job.job_id, as_json=as_json)
    else:
        _show(job, as_json=as_json)


@app.command("list")
def list_jobs(
    tenant: Tenant = "default",
    state: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(_STATES)}; repeatable.")
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Of this kind; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    *,
    dead: Annotated[bool, typer.Option("--dead", help="Dead letters only.")] = False,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first."""
    states = [_state(each) for each in state or []]

    async def work() -> list[Job]:
        found: list[Job] = []
        token = ""
        async with _client() as client:
            while len(found) < limit:
                page = await client.list(
                    tenant,
                    states=states,
                    kinds=kind or [],
                    dead_letters=dead,
                    page_size=min(200, limit - len(found)),
                    page_token=token,
                    limit_s=_LIMIT_S,
                )
                found += page.jobs
                token = page.next_page_token
                if not token:
                    break
        return found

    jobs = asyncio.run(work())
    if as_json:
        typer.echo(json.dumps({"jobs": [job_members(each) for each in jobs]}, ensure_ascii=False))
    else:
        Console(highlight=False).print(_table(jobs))


@app.command()
def show(job_id: JobId, tenant: Tenant = "default", *, as_json: Json = False) -> None:
    """Show a job, with its result if it has one."""

    async def work() -> Job:
        async with _client() as client:
            return await client.get(tenant, job_id, limit_s=_LIMIT_S)

    _show(asyncio.run(work()), as_json=as_json)


@app.command()
def watch(
    job_id: JobId,
    tenant: Tenant = "default",
    after: Annotated[int, typer.Option(min=0, help="Only events behind this number.")] = 0,
    *,
    as_json: Json = False,
) -> None:
    """Follow a job to its end; with --json, one event a line."""
    _follow(tenant, job_id, after, as_json=as_json)


@app.command()
def cancel(job_id: JobId, tenant: Tenant = "default", *, as_json: Json = False) -> None:
    """End a job, whether it waits or runs."""

    async def work() -> Job:
        async with _client() as client:
            return await client.cancel(tenant, job_id, limit_s=_LIMIT_S)

    _show(asyncio.run(work()), as_json=as_json)


@app.command()
def retry(job_id: JobId, tenant: Tenant = "default", *, as_json: Json = False) -> None:
    """Try a dead letter again, as a new job."""

    async def work() -> Job:
        async with _client() as client:
            return await client.retry(tenant, job_id, limit_s=_LIMIT_S)

    _show(asyncio.run(work()), as_json=as_json)


def _follow(tenant: str, job_id: str, after: int = 0, *, as_json: bool) -> None:
    job = asyncio.run(_watched(tenant, job_id, after, as_json=as_json))
    if not as_json and job is not None:
        _show(job, as_json=False)
    if job is not None and job.state is not JobState.SUCCEEDED:
        raise typer.Exit(1)


async def _watched(tenant: str, job_id: str, after: int, *, as_json: bool) -> Job | None:
    """Follow a job, and return it as it ended; None if that was told before `after`."""
    teller = _Lines() if as_json else _Bar()
    with teller:
        async for each in _events(tenant, job_id, after):
            teller.tell(each)
            if isinstance(each.event, JobCompleted):
                return each.event.job
    return None


async def _events(tenant: str, job_id: str, after: int) -> AsyncIterator[JobEvent]:
    """Yield a job's events to its end, over as many calls as that takes."""
    async with _client() as client:
        while True:
            try:
                async with client.watch(tenant, job_id, after) as events:
                    async for each in events:
                        yield each
                        after = each.sequence
            except (UnreachableError, DependencyUnavailableError):
                await asyncio.sleep(_AGAIN_AFTER_S)
            else:
                return


class _Lines:
    """Prints each event as one JSON object."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def tell(self, event: JobEvent) -> None:
        typer.echo(json.dumps(job_event_members(event), ensure_ascii=False))


class _Bar:
    """Shows how far a job has come, and its items as they come."""

    def __init__(self) -> None:
        self._shown = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=Console(highlight=False),
        )
        self._task = self._shown.add_task("queued", total=100.0)

    def __enter__(self) -> Self:
        self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.stop()

    def tell(self, event: JobEvent) -> None:
        match event.event:
            case JobChanged(job):
                self._shown.update(self._task, description=job.state.name.lower())
            case JobProgress(percent=percent, stage=stage, message=message):
                text = clean(message or stage)
                self._shown.update(self._task, completed=percent, description=text)
            case JobItem(key, value):
                line = clean(f"{key}: {value.decode(errors='replace')}")
                self._shown.console.print(line, markup=False, overflow="ellipsis", no_wrap=True)
            case JobCompleted(job):
                self._shown.update(self._task, completed=job.progress.percent)


@asynccontextmanager
async def _client() -> AsyncIterator[JobsClient]:
    async with connected(Home().find(), "jobs") as connection:
        yield JobsClient(connection)


def _content(given: str) -> bytes:
    if given == _STDIN:
        return sys.stdin.buffer.read()
    if given.startswith("@"):
        return Path(given[1:]).read_bytes()
    return given.encode()


def _state(text: str) -> JobState:
    if text not in _STATES:
        raise SlipError(f"--state: {text!r} is not one of {', '.join(_STATES)}")
    return _STATES[text]


def _show(job: Job, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(job_members(job), ensure_ascii=False))
        return
    console = Console(highlight=False)
    table = Table(box=None, show_header=False)
    for name, value in _rows(job):
        table.add_row(name, clean(value))
    console.print(table)
    if job.result:
        console.print_json(job.result.decode())


def _rows(job: Job) -> list[tuple[str, str]]:
    progress = job.progress
    rows = [
        ("job", job.job_id),
        ("kind", job.kind),
        ("state", job.state.name.lower() + (" (dead letter)" if job.dead_letter else "")),
        ("progress", f"{progress.percent:.0f} % {progress.message or progress.stage}"),
        ("attempt", str(job.attempt)),
        ("took", _took(job)),
        ("trace", job.trace_id),
        ("retry of", job.retry_of),
        ("error", f"{job.error.reason}: {job.error.message}" if job.error else ""),
    ]
    return [(name, value) for name, value in rows if value.strip()]


def _took(job: Job) -> str:
    end_s = time.time() if job.ended_at_s is None else job.ended_at_s
    return f"{end_s - job.created_at_s:.1f} s"


def _table(jobs: list[Job]) -> Table:
    table = Table(box=None)
    # Whole, however narrow the screen: it is what the other commands are given.
    table.add_column("job", no_wrap=True)
    for name in ("kind", "state", "%", "attempt", "took", "error"):
        table.add_column(name, justify="right" if name in ("%", "attempt", "took") else "left")
    for job in jobs:
        cells: list[Any] = [job.job_id, job.kind, job.state.name.lower()]
        cells += [f"{job.progress.percent:.0f}", str(job.attempt), _took(job)]
        table.add_row(*map(clean, cells), job.error.reason if job.error else "")
    return table
