"""Workers that are killed, or taken for dead, while they do jobs."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from blockbuster import BlockBuster
from redis.asyncio import Redis

from libs.clients.jobs import JobsClient
from libs.eventlog import EventLog
from libs.values.jobs import (
    Job,
    JobCompleted,
    JobEvent,
    JobItem,
    JobProgress,
    JobState,
    Submission,
)
from services.jobs.servicer import decode_event
from tests.support.job_service import Jobs, jobs_running, told
from tests.support.job_worker import BLAMING, FENCED, UNFENCED, WorkerProcess, workers
from tests.support.waiting import until

TENANT = "acme"
JOBS, WORKERS, STEPS = 200, 4, 6
# As it is by default.
LEASE_S = 5.0
# Attempts that a job may lose when workers die all the time.
MANY = 100


async def submit(client: JobsClient, **given: Any) -> Job:
    data = json.dumps(given).encode()
    return (await client.submit(Submission(TENANT, "steps", data))).job


async def written(redis_url: str, job_id: str) -> list[JobEvent]:
    """Return every event of a job, also those behind its end, which no reader is told."""
    async with Redis.from_url(redis_url, driver_info=None) as redis:
        rows = await EventLog(redis, kind="job", ttl_s=1).read(TENANT, job_id)
    return [decode_event(data) for _, data in rows]


def faults(events: Sequence[JobEvent], steps: int) -> list[str]:
    """Return what is not as it was promised."""
    found = []
    if [each.sequence for each in events] != list(range(1, len(events) + 1)):
        found.append("a gap")
    ends = [place for place, each in enumerate(events) if isinstance(each.event, JobCompleted)]
    if ends != [len(events) - 1]:
        found.append(f"{len(ends)} ends, or something behind them")
    keys = Counter(each.event.key for each in events if isinstance(each.event, JobItem))
    if dict(keys) != {f"step-{step}": 1 for step in range(steps)}:
        found.append(f"items {dict(keys)}")
    told = [each.event.percent for each in events if isinstance(each.event, JobProgress)]
    if told != sorted(told):
        found.append("progress that goes back")
    return found


async def begun(client: JobsClient, job: Job) -> Job:
    """Return the job once it has delivered something."""

    async def has_items() -> bool:
        return (await client.get(TENANT, job.job_id)).item_count > 0

    await until(has_items)
    return await client.get(TENANT, job.job_id)


async def test_a_job_whose_worker_is_killed_is_done_by_another(
    redis_url: str, no_blocking: BlockBuster
) -> None:
    async with jobs_running(redis_url, no_blocking, workers=0) as jobs:
        async with workers(redis_url, 2) as pair:
            made = [await submit(jobs.client, count=10, pause_s=0.1) for _ in range(4)]
            for job in made:
                await begun(jobs.client, job)
            await pair[0].kill()
            for job in made:
                events = await told(jobs.client, TENANT, job.job_id)
                assert not faults(events, 10)
                last = events[-1].event
                assert isinstance(last, JobCompleted)
                assert last.job.state is JobState.SUCCEEDED


@pytest.mark.parametrize("mode", [FENCED, pytest.param(UNFENCED, marks=pytest.mark.prove)])
async def test_a_worker_that_was_taken_for_dead_writes_nothing_more(
    redis_url: str, no_blocking: BlockBuster, mode: str
) -> None:
    async with jobs_running(redis_url, no_blocking, workers=0) as jobs:
        async with workers(redis_url, 1, mode=mode) as (frozen,):
            job = await submit(jobs.client, count=8, pause_s=0.15)
            await begun(jobs.client, job)
            frozen.freeze()
            async with workers(redis_url, 1, mode=mode):
                await taken_over(jobs, job)
                frozen.thaw()
                await told(jobs.client, TENANT, job.job_id)
                # Long enough for the first to come to its own end, were it let.
                await asyncio.sleep(1.5)
    found = faults(await written(redis_url, job.job_id), 8)
    # Without a fence both of them end the job.
    assert bool(found) is (mode == UNFENCED), found


async def taken_over(jobs: Jobs, job: Job) -> None:
    async def is_another() -> bool:
        return (await jobs.client.get(TENANT, job.job_id)).attempt > 1

    await until(is_another, within_s=20)


@pytest.mark.prove
async def test_a_job_that_kills_its_workers_becomes_a_dead_letter(
    redis_url: str, no_blocking: BlockBuster
) -> None:
    async with jobs_running(redis_url, no_blocking, workers=0) as jobs:
        job = await submit(jobs.client, count=100, pause_s=0.2)
        async with workers(redis_url, 1, attempt_count=1) as (worker,):
            await begun(jobs.client, job)
            await worker.kill()
            await worker.start()
            await taken_over(jobs, job)
            await worker.kill()
            await worker.start()
            last = (await told(jobs.client, TENANT, job.job_id))[-1].event
    assert isinstance(last, JobCompleted)
    assert last.job.error is not None
    assert (last.job.error.reason, last.job.dead_letter) == ("WORKER_LOST", True)


@pytest.mark.prove
@pytest.mark.parametrize("mode", [FENCED, BLAMING])
async def test_a_job_that_kills_its_workers_takes_no_other_job_along(
    redis_url: str, no_blocking: BlockBuster, mode: str
) -> None:
    async with jobs_running(redis_url, no_blocking, workers=0) as jobs:
        async with workers(redis_url, 1, attempt_count=2, mode=mode) as (worker,):
            restarting = asyncio.create_task(restarted(worker))
            beside = [await submit(jobs.client, count=15, pause_s=0.1) for _ in range(4)]
            for job in beside:
                await begun(jobs.client, job)
            poison = await submit(jobs.client, count=1, kills=True)
            last = [(await told(jobs.client, TENANT, job.job_id))[-1].event for job in beside]
            dead = (await told(jobs.client, TENANT, poison.job_id))[-1].event
            deaths = await stopped(restarting)
    assert isinstance(dead, JobCompleted)
    assert dead.job.error is not None
    assert (dead.job.error.reason, dead.job.dead_letter) == ("WORKER_LOST", True)
    states = Counter(each.job.state.name for each in last if isinstance(each, JobCompleted))
    print(f"a job that kills its workers ({mode}): {deaths} deaths, beside it {dict(states)}")
    # One death that accuses nobody, and as many as a job may fail.
    assert (states == {"SUCCEEDED": 4} and deaths == 3) is (mode == FENCED)


async def restarted(worker: WorkerProcess) -> int:
    """Start a worker again whenever it has ended, until cancelled; return how often."""
    count = 0
    while True:
        try:
            await worker.has_ended()
        except asyncio.CancelledError:
            return count
        count += 1
        await worker.kill()
        await worker.start()


async def stopped(restarting: asyncio.Task[int]) -> int:
    restarting.cancel()
    return await restarting


@pytest.mark.prove
async def test_a_dead_worker_is_replaced_within_seconds(
    redis_url: str, no_blocking: BlockBuster
) -> None:
    took = []
    async with jobs_running(redis_url, no_blocking, workers=0) as jobs:
        for _ in range(3):
            async with workers(redis_url, 1, lease_s=LEASE_S) as (first,):
                job = await submit(jobs.client, count=1_000, pause_s=0.1)
                await begun(jobs.client, job)
                async with workers(redis_url, 1, lease_s=LEASE_S):
                    killed_s = time.monotonic()
                    await first.kill()
                    await taken_over(jobs, job)
                    took.append(time.monotonic() - killed_s)
                    await jobs.client.cancel(TENANT, job.job_id)
    print(f"a lease of {LEASE_S} s: another worker had the job after {sorted(took)} s")
    assert max(took) < 2 * LEASE_S


@dataclass
class Harm:
    """What is done to workers until the block is left, with seeded dice."""

    workers: Sequence[WorkerProcess]
    dice: random.Random
    kills: int = 0
    freezes: int = 0

    async def go_on(self) -> None:
        while True:
            await asyncio.sleep(self.dice.uniform(0.3, 1.0))
            victim = self.dice.choice(self.workers)
            if self.dice.random() < 0.7:
                await victim.kill()
                self.kills += 1
                await asyncio.sleep(self.dice.uniform(0.0, 0.5))
                await victim.start()
            else:
                victim.freeze()
                self.freezes += 1
                # Longer than its lease: its jobs are given to others meanwhile.
                await asyncio.sleep(self.dice.uniform(1.5, 2.5))
                victim.thaw()


@pytest.mark.prove
@pytest.mark.timeout(400)
async def test_two_hundred_jobs_with_workers_killed_at_random(
    redis_url: str, no_blocking: BlockBuster
) -> None:
    dice = random.Random(5)  # noqa: S311 - no secret
    terms = {"attempt_count": MANY, "concurrency": 8, "tenant_concurrency": 8}
    began_s = time.monotonic()
    async with jobs_running(redis_url, no_blocking, replicas=2, workers=0) as jobs:
        async with workers(redis_url, WORKERS, **terms) as running:
            made = [
                await submit(
                    jobs.clients[number % 2],
                    count=STEPS,
                    pause_s=dice.uniform(0.2, 0.8),
                    failures=dice.choice([0, 0, 1]),
                    fail_after=2,
                )
                for number in range(JOBS)
            ]
            harm = Harm(running, dice)
            harming = asyncio.create_task(harm.go_on())
            reading = [
                told(jobs.clients[number % 2], TENANT, job.job_id, limit_s=300.0)
                for number, job in enumerate(made)
            ]
            logs = await asyncio.gather(*reading)
            harming.cancel()
            await asyncio.wait({harming})
            for each in running:
                each.thaw()
            # Who was frozen may still have something to say.
            await asyncio.sleep(3.0)
    wrong = {}
    for job, log in zip(made, logs, strict=True):
        whole = await written(redis_url, job.job_id)
        assert whole == log
        if found := faults(whole, STEPS):
            wrong[job.job_id] = found
    ends = [log[-1].event for log in logs]
    states = Counter(each.job.state.name for each in ends if isinstance(each, JobCompleted))
    attempts = sum(each.job.attempt for each in ends if isinstance(each, JobCompleted))
    print(
        f"{JOBS} jobs on {WORKERS} workers: {harm.kills} kills, {harm.freezes} freezes, "
        f"{attempts} attempts, {dict(states)} in {time.monotonic() - began_s:.0f} s"
    )
    assert not wrong
    assert states == {"SUCCEEDED": JOBS}
    assert harm.kills >= 3
    assert harm.freezes >= 1
