"""Redis that freezes, restarts or fails over while jobs are done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from libs.errors import DependencyUnavailableError, MeshError
from libs.values.jobs import Job, JobCompleted, JobEvent, JobItem, JobState, Submission
from tests.support.blocking import blocking
from tests.support.job_service import Jobs, jobs_running
from tests.support.valkey import Valkey, Watched
from tests.support.waiting import until

TENANT = "acme"
STEPS = 10
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Valkey]:
    """A Redis that keeps what it is told over a restart."""
    server = Valkey(tmp_path, *DURABLE)
    server.start()
    yield server
    server.thaw()
    server.kill()


@pytest.fixture
async def jobs(durable: Valkey, no_blocking: BlockBuster) -> AsyncIterator[Jobs]:
    """The service and two workers over it."""
    async with jobs_running(durable.url, no_blocking, workers=2) as running:
        yield running


async def begun(jobs: Jobs, steps: int = STEPS, pause_s: float = 0.1) -> Job:
    """Return a job that has delivered something."""
    data = json.dumps({"count": steps, "pause_s": pause_s}).encode()
    job = (await jobs.client.submit(Submission(TENANT, "steps", data))).job

    async def has_items() -> bool:
        return (await jobs.client.get(TENANT, job.job_id)).item_count > 0

    await until(has_items, within_s=20)
    return job


async def followed(jobs: Jobs, job: Job) -> list[JobEvent]:
    """Return all that is told of a job, going on after each break where it was."""
    seen: list[JobEvent] = []
    async with asyncio.timeout(40):
        while not seen or not isinstance(seen[-1].event, JobCompleted):
            try:
                after = seen[-1].sequence if seen else 0
                async with jobs.client.watch(TENANT, job.job_id, after, limit_s=20) as events:
                    async for each in events:
                        seen.append(each)  # noqa: PERF401 - what was read before a break counts
            except MeshError:
                await asyncio.sleep(0.1)
    return seen


def is_whole(events: list[JobEvent], steps: int = STEPS) -> bool:
    last = events[-1].event
    keys = [each.event.key for each in events if isinstance(each.event, JobItem)]
    return (
        [each.sequence for each in events] == list(range(1, len(events) + 1))
        and keys == [f"step-{step}" for step in range(steps)]
        and isinstance(last, JobCompleted)
        and last.job.state is JobState.SUCCEEDED
    )


async def test_a_job_goes_on_after_redis_was_frozen(jobs: Jobs, durable: Valkey) -> None:
    job = await begun(jobs)
    reading = asyncio.create_task(followed(jobs, job))
    durable.freeze()
    # Longer than a lease: all workers look dead, and none is.
    await asyncio.sleep(2.0)
    durable.thaw()
    events = await reading
    assert is_whole(events)
    assert len(jobs.watched.steps) == STEPS
    assert {attempt for _, attempt, _ in jobs.watched.steps} == {1}


async def test_a_job_goes_on_after_redis_was_killed(
    jobs: Jobs, durable: Valkey, no_blocking: BlockBuster
) -> None:
    job = await begun(jobs)
    reading = asyncio.create_task(followed(jobs, job))
    with blocking(no_blocking):
        durable.kill()
    with pytest.raises(DependencyUnavailableError):
        await jobs.client.get(TENANT, job.job_id)
    with pytest.raises(DependencyUnavailableError):
        await jobs.client.submit(Submission(TENANT, "steps", b"{}"))
    with blocking(no_blocking):
        durable.start()
    assert is_whole(await reading)
    # The workers take new jobs without a restart.
    assert is_whole(await followed(jobs, await begun(jobs, 2)), 2)


async def test_jobs_are_done_once_redis_is_there(durable: Valkey, no_blocking: BlockBuster) -> None:
    with blocking(no_blocking):
        durable.kill()
    async with jobs_running(durable.url, no_blocking) as jobs:
        with blocking(no_blocking):
            durable.start()
        assert is_whole(await followed(jobs, await begun(jobs, 2)), 2)


@pytest.mark.prove
@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_jobs_go_on_over_a_failover(
    tmp_path: Path, no_blocking: BlockBuster, fault: str
) -> None:
    with blocking(no_blocking):
        watched = Watched(tmp_path)
        watched.start()
    try:
        async with jobs_running(watched.url, no_blocking, workers=2) as jobs:
            made = [await begun(jobs, 30) for _ in range(5)]
            reading = [asyncio.create_task(followed(jobs, job)) for job in made]
            with blocking(no_blocking):
                watched.master.kill() if fault == "killed" else watched.master.freeze()
            await asyncio.gather(*reading)
            # What the old master had not passed on is told anew, under the same numbers.
            for job in made:
                assert is_whole(await followed(jobs, job), 30)
            assert is_whole(await followed(jobs, await begun(jobs, 2)), 2)
    finally:
        with blocking(no_blocking):
            watched.stop()
