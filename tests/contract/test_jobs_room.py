"""How much a tenant's jobs may hold."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from blockbuster import BlockBuster
from redis.asyncio import Redis

from libs.errors import JobsFullError
from libs.redislink import open_redis
from libs.values.jobs import Job, JobState, Submission
from tests.support.job_service import Jobs, jobs_running, told
from tests.support.waiting import until

MOST = {"tenant_bytes": 14_000}


@pytest.fixture
async def jobs(redis_url: str, no_blocking: BlockBuster) -> AsyncIterator[Jobs]:
    async with jobs_running(redis_url, no_blocking, server=MOST, worker=MOST) as running:
        yield running


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, timeout_s=2) as opened:
        yield opened


async def submit(jobs: Jobs, kind: str, *, ttl_s: float | None = None, **given: Any) -> Job:
    """Take on a job of acme, whose input is as long as is said."""
    content = json.dumps(given).encode()
    submission = Submission("acme", kind, content, result_ttl_s=ttl_s)
    return (await jobs.client.submit(submission)).job


async def ended(jobs: Jobs, job: Job) -> Job:
    await told(jobs.client, "acme", job.job_id)
    return await jobs.client.get("acme", job.job_id)


async def test_inputs_take_room_until_their_jobs_have_ended(jobs: Jobs) -> None:
    long = "x" * 6_000
    first = [await submit(jobs, "gate", failure=long) for _ in range(2)]
    with pytest.raises(JobsFullError, match="acme") as refused:
        await submit(jobs, "gate", failure=long)
    assert refused.value.retry_after_s == 60
    other = Submission("rival", "gate", json.dumps({"failure": long}).encode())
    assert (await jobs.client.submit(other)).created
    await jobs.client.cancel("acme", first[0].job_id)
    assert (await submit(jobs, "gate", failure=long)).state is JobState.QUEUED


async def test_a_result_that_there_is_no_room_for_makes_a_dead_letter_which_may_be_tried_again(
    jobs: Jobs,
) -> None:
    kept = await ended(jobs, await submit(jobs, "steps", count=0, result_bytes=9_000, ttl_s=1))
    assert kept.state is JobState.SUCCEEDED
    dead = await ended(jobs, await submit(jobs, "steps", count=0, result_bytes=9_000))
    assert (dead.state, dead.dead_letter) == (JobState.FAILED, True)
    assert dead.error is not None
    assert dead.error.reason == "JOBS_FULL"
    await until(lambda: is_gone(jobs, kept))
    again = await jobs.client.retry("acme", dead.job_id)
    assert (await ended(jobs, again)).state is JobState.SUCCEEDED


async def is_gone(jobs: Jobs, job: Job) -> bool:
    page = await jobs.client.list("acme")
    return job.job_id not in [each.job_id for each in page.jobs]


async def test_items_take_room_as_well(jobs: Jobs) -> None:
    job = await ended(jobs, await submit(jobs, "steps", count=1000))
    assert job.error is not None
    assert job.error.reason == "JOBS_FULL"
    assert 0 < job.item_count < 1000


async def test_what_is_counted_is_what_is_kept(jobs: Jobs, redis: Redis) -> None:
    for given in ({"count": 3}, {"count": 2, "failures": 1}, {"count": 1, "failure": "BUG"}):
        await ended(jobs, await submit(jobs, "steps", ttl_s=1, **given))
    gone = await submit(jobs, "gate")
    await jobs.client.cancel("acme", gone.job_id)
    sizes = await counted(redis)
    assert len(sizes) == 5
    assert sizes.pop(":all") == sum(sizes.values())
    await until(lambda: is_alone(jobs, redis))


async def counted(redis: Redis) -> dict[str, int]:
    found = await redis.hgetall("hasten:jobs:{acme}:sizes")
    return {bytes(name).decode(): int(size) for name, size in found.items()}


async def is_alone(jobs: Jobs, redis: Redis) -> bool:
    """Say whether a new job counts for all that is counted beside those that are kept for long."""
    await submit(jobs, "gate")
    sizes = await counted(redis)
    ids = {each.job_id for each in (await jobs.client.list("acme")).jobs}
    return set(sizes) - {":all"} == ids
