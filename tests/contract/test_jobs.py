from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from blockbuster import BlockBuster
from prometheus_client import REGISTRY

from libs.errors import (
    IdempotencyKeyReusedError,
    InvalidFieldError,
    JobNotFoundError,
    NotADeadLetterError,
    OverloadedError,
    TenantNotAllowedError,
)
from libs.server import Identities, Identity
from libs.values.jobs import (
    Job,
    JobChanged,
    JobCompleted,
    JobEvent,
    JobItem,
    JobProgress,
    JobState,
    Submission,
    Submitted,
)
from tests.support.blocking import blocking
from tests.support.job_service import Jobs, jobs_running, kinds_for, told, work
from tests.support.waiting import until

ACME = "acme"
# It opens nothing but the service of a test.
TOKEN = "of-a-test"  # noqa: S105


@pytest.fixture
async def jobs(redis_url: str, no_blocking: BlockBuster) -> AsyncIterator[Jobs]:
    """Two replicas of the service and one worker."""
    async with jobs_running(redis_url, no_blocking, replicas=2) as running:
        yield running


@pytest.fixture
async def idle(redis_url: str, no_blocking: BlockBuster) -> AsyncIterator[Jobs]:
    """The service without a worker: jobs wait."""
    terms = {"unfinished_count": 3}
    async with jobs_running(redis_url, no_blocking, workers=0, server=terms) as running:
        yield running


def steps(tenant_id: str = ACME, kind: str = "steps", **given: Any) -> Submission:
    more = {key: given.pop(key) for key in ("idempotency_key", "scope") if key in given}
    return Submission(tenant_id, kind, json.dumps(given).encode(), **more)


async def submit(jobs: Jobs, **given: Any) -> Job:
    return (await jobs.client.submit(steps(**given))).job


async def ended(jobs: Jobs, job: Job, tenant_id: str = ACME) -> Job:
    last = (await told(jobs.client, tenant_id, job.job_id))[-1].event
    assert isinstance(last, JobCompleted)
    return last.job


def items(events: list[JobEvent]) -> list[str]:
    return [each.event.key for each in events if isinstance(each.event, JobItem)]


def percents(events: list[JobEvent]) -> list[float]:
    return [each.event.percent for each in events if isinstance(each.event, JobProgress)]


async def test_a_job_is_done_and_its_result_is_kept(jobs: Jobs) -> None:
    submitted = await jobs.client.submit(steps(count=3))
    assert submitted.created
    assert submitted.job.state is JobState.QUEUED
    done = await ended(jobs, submitted.job)
    assert done.state is JobState.SUCCEEDED
    assert json.loads(done.result) == {"steps": 3, "attempt": 1}
    assert done.progress.percent == 100
    assert await jobs.clients[1].get(ACME, done.job_id) == done


async def test_a_job_tells_of_itself_in_order_without_gaps(jobs: Jobs) -> None:
    job = await submit(jobs, count=4)
    events = await told(jobs.client, ACME, job.job_id)
    assert [each.sequence for each in events] == list(range(1, len(events) + 1))
    assert items(events) == ["step-0", "step-1", "step-2", "step-3"]
    states = [each.event.job.state for each in events if isinstance(each.event, JobChanged)]
    assert states == [JobState.QUEUED, JobState.RUNNING]
    assert isinstance(events[-1].event, JobCompleted)
    assert events[-1].event.job.revision == events[-1].sequence


async def test_a_reader_goes_on_where_it_was_at_another_replica(jobs: Jobs) -> None:
    job = await submit(jobs, count=5)
    whole = await told(jobs.clients[0], ACME, job.job_id)
    for after in range(len(whole)):
        assert await told(jobs.clients[1], ACME, job.job_id, after) == whole[after:]


async def test_a_reader_who_has_seen_the_end_is_told_nothing_more(jobs: Jobs) -> None:
    done = await ended(jobs, await submit(jobs))
    assert await told(jobs.client, ACME, done.job_id, done.revision) == []


async def test_a_large_job_is_told_in_several_messages(jobs: Jobs) -> None:
    job = await submit(jobs, count=100)
    assert len(items(await told(jobs.client, ACME, job.job_id))) == 100


async def test_the_same_key_is_the_same_job(jobs: Jobs) -> None:
    submission = steps(count=1, idempotency_key="once")
    first = await jobs.client.submit(submission)
    again = await jobs.clients[1].submit(submission)
    assert (first.created, again.created) == (True, False)
    assert again.job.job_id == first.job.job_id
    done = await ended(jobs, first.job)
    assert (await jobs.client.submit(submission)).job.job_id == done.job_id


async def test_the_same_key_at_once_over_two_replicas_is_one_job(jobs: Jobs) -> None:
    submission = steps(count=1, idempotency_key="at-once")
    asking = [jobs.clients[turn % 2].submit(submission) for turn in range(20)]
    submitted: list[Submitted] = await asyncio.gather(*asking)
    assert len({each.job.job_id for each in submitted}) == 1
    assert sum(each.created for each in submitted) == 1
    await ended(jobs, submitted[0].job)
    assert len(jobs.watched.steps) == 1


async def test_spaces_and_order_do_not_make_another_input(idle: Jobs) -> None:
    first = Submission(ACME, "steps", b'{"count": 1, "failures": 0}', "key")
    again = Submission(ACME, "steps", b'{"failures":0,"count":1}', "key")
    job = (await idle.client.submit(first)).job
    assert (await idle.client.submit(again)).job.job_id == job.job_id


async def test_a_key_is_not_used_for_something_else(idle: Jobs) -> None:
    await idle.client.submit(steps(count=1, idempotency_key="key"))
    with pytest.raises(IdempotencyKeyReusedError):
        await idle.client.submit(steps(count=2, idempotency_key="key"))
    with pytest.raises(IdempotencyKeyReusedError):
        await idle.client.submit(steps(count=1, scope="other", idempotency_key="key"))


async def test_two_tenants_may_use_the_same_key(idle: Jobs) -> None:
    one = await idle.client.submit(steps(count=1, idempotency_key="key"))
    other = await idle.client.submit(steps("rival", count=2, idempotency_key="key"))
    assert other.created
    assert other.job.job_id != one.job.job_id


@pytest.mark.parametrize(
    ("field", "submission"),
    [
        ("kind", Submission(ACME, "dance", b"{}")),
        ("tenant_id", Submission("a/b", "steps", b"{}")),
        ("scope", Submission(ACME, "steps", b"{}", scope="a b")),
        ("idempotency_key", Submission(ACME, "steps", b"{}", "k" * 129)),
        ("result_ttl", Submission(ACME, "steps", b"{}", result_ttl_s=0.5)),
        ("input", Submission(ACME, "steps", b"")),
        ("input", Submission(ACME, "steps", b"{")),
        ("input", Submission(ACME, "steps", b"\xff")),
        ("input", Submission(ACME, "steps", b"[" * 100_000)),
        ("input.count", Submission(ACME, "steps", b'{"count": -1}')),
        ("input.count", Submission(ACME, "steps", b'{"count": "1"}')),
        ("input.more", Submission(ACME, "steps", b'{"more": 1}')),
        ("input", Submission(ACME, "steps", b" " * (16 * 1024 * 1024 + 1))),
    ],
)
async def test_what_cannot_be_done_is_refused(
    idle: Jobs, field: str, submission: Submission
) -> None:
    with pytest.raises(InvalidFieldError) as raised:
        await idle.client.submit(submission)
    assert raised.value.field == field


async def test_too_many_unfinished_jobs_are_refused_with_a_time_to_come_back(idle: Jobs) -> None:
    for _ in range(3):
        job = await submit(idle, count=1)
    with pytest.raises(OverloadedError) as raised:
        await submit(idle, count=1)
    assert raised.value.retry_after_s
    assert (await submit(idle, tenant_id="other", count=1)).state is JobState.QUEUED
    await idle.client.cancel(ACME, job.job_id)
    assert (await submit(idle, count=1)).state is JobState.QUEUED


async def test_another_tenants_job_is_not_there(idle: Jobs) -> None:
    job = await submit(idle, count=1)
    client, rival = idle.client, "rival"
    for call in (client.get, client.cancel, client.retry):
        with pytest.raises(JobNotFoundError):
            await call(rival, job.job_id)
    with pytest.raises(JobNotFoundError):
        await told(client, rival, job.job_id)
    assert (await client.list(rival)).jobs == ()


async def test_an_identity_speaks_for_its_tenants_alone(
    redis_url: str, no_blocking: BlockBuster
) -> None:
    known = Identities.of([(TOKEN, Identity("app", frozenset({ACME})))])
    async with jobs_running(
        redis_url, no_blocking, workers=0, identities=known, token=TOKEN
    ) as jobs:
        job = await submit(jobs, count=1)
        with pytest.raises(TenantNotAllowedError):
            await jobs.client.get("rival", job.job_id)


async def test_who_waits_for_a_change_is_told_when_it_comes(jobs: Jobs) -> None:
    job = await submit(jobs, kind="gate")
    running = await jobs.client.get(ACME, job.job_id, after_revision=job.revision, wait_s=20)
    assert running.revision > job.revision
    waiting = asyncio.create_task(
        jobs.clients[1].get(ACME, job.job_id, after_revision=1_000_000, wait_s=20)
    )
    jobs.watched.open_gate.set()
    # One that has ended changes no more, so nobody waits for it.
    assert (await waiting).state is JobState.SUCCEEDED


async def test_who_waits_in_vain_gets_the_job_as_it_is(idle: Jobs) -> None:
    job = await submit(idle, count=1)
    found = await idle.client.get(ACME, job.job_id, after_revision=job.revision, wait_s=0.1)
    assert found == job
    within_deadline = await idle.client.get(
        ACME, job.job_id, after_revision=job.revision, wait_s=60, limit_s=0.5
    )
    assert within_deadline == job


async def test_a_wait_has_a_limit(idle: Jobs) -> None:
    job = await submit(idle, count=1)
    with pytest.raises(InvalidFieldError, match="wait"):
        await idle.client.get(ACME, job.job_id, wait_s=61)


async def test_a_job_that_waits_can_be_cancelled(idle: Jobs) -> None:
    job = await submit(idle, count=1)
    cancelled = await idle.client.cancel(ACME, job.job_id)
    assert cancelled.state is JobState.CANCELLED
    assert await idle.client.cancel(ACME, job.job_id) == cancelled
    assert (await ended(idle, job)).state is JobState.CANCELLED


async def test_a_job_that_runs_can_be_cancelled_from_any_replica(jobs: Jobs) -> None:
    job = await submit(jobs, kind="gate")
    await jobs.client.get(ACME, job.job_id, after_revision=1, wait_s=20)
    cancelled = await jobs.clients[1].cancel(ACME, job.job_id)
    assert cancelled.state is JobState.CANCELLED

    async def stopped() -> bool:
        return jobs.watched.cancelled == [job.job_id]

    await until(stopped)
    assert (await jobs.client.get(ACME, job.job_id)).state is JobState.CANCELLED


async def test_what_has_ended_is_not_cancelled(jobs: Jobs) -> None:
    done = await ended(jobs, await submit(jobs))
    assert (await jobs.client.cancel(ACME, done.job_id)).state is JobState.SUCCEEDED
    assert await jobs.client.get(ACME, done.job_id) == done


async def test_jobs_are_listed_from_the_newest_on(idle: Jobs) -> None:
    made = [await submit(idle, count=number) for number in range(3)]
    first = await idle.client.list(ACME, page_size=2)
    rest = await idle.client.list(ACME, page_size=2, page_token=first.next_page_token)
    assert [*first.jobs, *rest.jobs] == made[::-1]
    assert not rest.next_page_token


async def test_a_list_is_of_the_states_and_kinds_that_are_asked_for(jobs: Jobs) -> None:
    done = await ended(jobs, await submit(jobs))
    waiting = await submit(jobs, kind="gate")
    await jobs.client.get(ACME, waiting.job_id, after_revision=1, wait_s=20)
    ids = [each.job_id for each in (await jobs.client.list(ACME, kinds=["gate"])).jobs]
    assert ids == [waiting.job_id]
    found = (await jobs.client.list(ACME, states=[JobState.SUCCEEDED])).jobs
    assert [each.job_id for each in found] == [done.job_id]
    assert found[0].result == b""


async def test_what_may_pass_is_tried_again_and_its_items_are_kept(jobs: Jobs) -> None:
    job = await submit(jobs, count=3, failures=2, fail_after=1)
    events = await told(jobs.client, ACME, job.job_id)
    last = events[-1].event
    assert isinstance(last, JobCompleted)
    assert (last.job.state, last.job.attempt) == (JobState.SUCCEEDED, 3)
    assert items(events) == ["step-0", "step-1", "step-2"]
    # Each step was made once: later attempts passed over what was there.
    assert sorted(step for _, _, step in jobs.watched.steps) == [0, 1, 2]
    assert last.job.error is None


async def test_who_asks_for_time_is_given_it(jobs: Jobs) -> None:
    job = await submit(jobs, count=1, failures=1, failure="OVERLOADED")
    done = await ended(jobs, job)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)
    assert done.ended_at_s is not None
    assert done.ended_at_s - done.created_at_s >= 0.05


async def test_what_fails_in_any_case_is_not_tried_again(jobs: Jobs) -> None:
    failed = await ended(jobs, await submit(jobs, failures=9, failure="COLLECTION_NOT_FOUND"))
    assert (failed.state, failed.attempt) == (JobState.FAILED, 1)
    assert failed.error is not None
    assert failed.error.reason == "COLLECTION_NOT_FOUND"
    assert not failed.dead_letter


async def test_a_fault_of_ours_is_told_without_its_details(jobs: Jobs) -> None:
    failed = await ended(jobs, await submit(jobs, failures=9, failure="BUG"))
    assert failed.error is not None
    assert failed.error.reason == "INTERNAL"
    assert "secret" not in failed.error.message


async def test_what_failed_too_often_is_a_dead_letter_and_can_be_tried_again(jobs: Jobs) -> None:
    dead = await ended(jobs, await submit(jobs, count=3, failures=5, fail_after=2))
    assert (dead.state, dead.attempt, dead.dead_letter) == (JobState.FAILED, 5, True)
    letters = await jobs.client.list(ACME, dead_letters=True)
    assert [each.job_id for each in letters.jobs] == [dead.job_id]
    again = await jobs.client.retry(ACME, dead.job_id)
    assert again.retry_of == dead.job_id
    assert (await jobs.clients[1].retry(ACME, dead.job_id)).job_id == again.job_id
    assert (await jobs.client.list(ACME, dead_letters=True)).jobs == ()
    # What the dead letter had delivered is there, and not made again.
    assert items(await told(jobs.client, ACME, again.job_id))[:2] == ["step-0", "step-1"]
    assert (await jobs.client.get(ACME, dead.job_id)).state is JobState.FAILED


async def test_only_a_dead_letter_is_tried_again(jobs: Jobs) -> None:
    done = await ended(jobs, await submit(jobs))
    with pytest.raises(NotADeadLetterError):
        await jobs.client.retry(ACME, done.job_id)


async def test_a_result_may_be_large_but_not_without_end(jobs: Jobs) -> None:
    size = 15 * 1024 * 1024
    large = await ended(jobs, await submit(jobs, count=0, result_bytes=size))
    assert len(json.loads(large.result)["text"]) == size
    assert await jobs.clients[1].get(ACME, large.job_id) == large
    failed = await ended(jobs, await submit(jobs, count=0, result_bytes=16 * 1024 * 1024))
    assert failed.error is not None
    assert (failed.error.reason, failed.dead_letter) == ("RESULT_TOO_LARGE", False)


def counted(guard: BlockBuster) -> list[float]:
    """Return jobs submitted, succeeded, tried again, and attempts begun."""
    names = [
        ("hasten_jobs_submitted_total", {}),
        ("hasten_jobs_ended_total", {"state": "SUCCEEDED"}),
        ("hasten_job_attempts_total", {"outcome": "retried"}),
        ("hasten_job_wait_seconds_count", {}),
    ]
    with blocking(guard):
        found = [REGISTRY.get_sample_value(name, {"kind": "steps", **more}) for name, more in names]
    return [each or 0.0 for each in found]


async def test_jobs_are_counted(jobs: Jobs, no_blocking: BlockBuster) -> None:
    before = counted(no_blocking)
    await ended(jobs, await submit(jobs, count=1, failures=1))

    async def are_counted() -> bool:
        after = counted(no_blocking)
        return [late - early for late, early in zip(after, before, strict=True)] == [1, 1, 1, 2]

    # Its reader may hear of the end before the worker has counted it.
    await until(are_counted)


async def test_progress_never_goes_back(jobs: Jobs) -> None:
    job = await submit(jobs, count=20, backwards=True, pause_s=0.02)
    seen = percents(await told(jobs.client, ACME, job.job_id))
    assert seen == sorted(seen)


async def test_a_job_is_forgotten_after_its_time(jobs: Jobs) -> None:
    brief = Submission(ACME, "steps", b"{}", result_ttl_s=1.0)
    done = await ended(jobs, (await jobs.client.submit(brief)).job)

    async def gone() -> bool:
        try:
            await jobs.client.get(ACME, done.job_id)
        except JobNotFoundError:
            return True
        return False

    await until(gone)
    assert (await jobs.client.list(ACME)).jobs == ()


async def test_an_attempt_that_takes_too_long_is_ended(
    redis_url: str, no_blocking: BlockBuster
) -> None:
    limits = {"limits_s": {"gate": 0.2}}
    async with jobs_running(redis_url, no_blocking, worker=limits) as jobs:
        failed = await ended(jobs, await submit(jobs, kind="gate"))
        assert failed.error is not None
        assert (failed.error.reason, failed.dead_letter) == ("TIMED_OUT", True)
        assert jobs.watched.cancelled == [failed.job_id]


async def test_one_tenant_does_not_take_all_of_a_worker(
    redis_url: str, no_blocking: BlockBuster
) -> None:
    room = {"concurrency": 3, "tenant_concurrency": 2}
    async with jobs_running(redis_url, no_blocking, worker=room) as jobs:
        for _ in range(10):
            await submit(jobs, kind="gate")
        rival = await submit(jobs, tenant_id="rival", count=1)
        done = await ended(jobs, rival, "rival")
        assert done.state is JobState.SUCCEEDED
        running = (await jobs.client.list(ACME, states=[JobState.RUNNING])).jobs
        assert len(running) == 2
        jobs.watched.open_gate.set()
        for each in (await jobs.client.list(ACME)).jobs:
            assert (await ended(jobs, each)).state is JobState.SUCCEEDED


async def test_a_worker_that_ends_gives_back_what_is_not_done(
    redis_url: str, no_blocking: BlockBuster
) -> None:
    async with jobs_running(redis_url, no_blocking, workers=0) as jobs:
        kinds = kinds_for(jobs.watched)
        async with work(redis_url, kinds, grace_s=0.0):
            job = await submit(jobs, count=10, pause_s=0.1)

            async def has_items() -> bool:
                return (await jobs.client.get(ACME, job.job_id)).item_count > 0

            await until(has_items)
        given_back = await jobs.client.get(ACME, job.job_id)
        assert (given_back.state, given_back.error) == (JobState.QUEUED, None)
        # It counts as no failure: one is all that the next worker grants.
        async with work(redis_url, kinds, attempt_count=1):
            events = await told(jobs.client, ACME, job.job_id)
    last = events[-1].event
    assert isinstance(last, JobCompleted)
    assert (last.job.state, last.job.attempt) == (JobState.SUCCEEDED, 2)
    assert items(events) == [f"step-{step}" for step in range(10)]


async def test_a_worker_does_no_more_at_once_than_it_may(
    redis_url: str, no_blocking: BlockBuster
) -> None:
    room = {"concurrency": 2, "tenant_concurrency": 2}
    async with jobs_running(redis_url, no_blocking, worker=room) as jobs:
        tenants = [ACME, "rival", "third"]
        made = [await submit(jobs, tenant_id=tenant, kind="gate") for tenant in tenants * 2]

        async def running() -> int:
            lists = [await jobs.client.list(each, states=[JobState.RUNNING]) for each in tenants]
            return sum(len(each.jobs) for each in lists)

        async def is_full() -> bool:
            return await running() == 2

        await until(is_full)
        await asyncio.sleep(0.3)
        assert await running() == 2
        jobs.watched.open_gate.set()
        for tenant, job in zip(tenants * 2, made, strict=True):
            assert (await ended(jobs, job, tenant)).state is JobState.SUCCEEDED


@pytest.mark.parametrize("after", [-1])
async def test_a_place_before_the_first_event_is_refused(idle: Jobs, after: int) -> None:
    job = await submit(idle, count=1)
    with pytest.raises(InvalidFieldError, match="after_sequence"):
        await told(idle.client, ACME, job.job_id, after)
