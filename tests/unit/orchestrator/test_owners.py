"""A run whose replica is gone gets an end from whoever follows it, on a real Valkey."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from libs.eventlog import EventLog
from libs.redislink import open_redis
from libs.values import AnswerState, Completed, FinishReason, Plan, Quality, TextDelta
from services.orchestrator.owners import Owners, ending_of
from services.orchestrator.run import Run, numbered
from services.orchestrator.runlog import Codec, RunLog
from services.orchestrator.servicer import decode_event, encode_event
from tests.support.valkey import Valkey
from tests.support.waiting import until

PLAN = Plan("r1", "", "interactive", 1.0, 10.0, Quality.FULL)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, timeout_s=2) as opened:
        yield opened


def replica(redis: Redis) -> tuple[RunLog, Owners]:
    owners = Owners(redis, ttl_s=60)
    log = EventLog(redis, kind="run", ttl_s=60)
    return RunLog(log, Codec(encode_event, decode_event), owners), owners


async def written(log: RunLog, run: Run) -> None:
    """Begin to write a run that goes on."""
    log.record(run, lambda _: None)
    await until(lambda: log.events(run.tenant_id, run.run_id))


async def test_a_run_is_lost_only_once_its_replica_is_gone(redis: Redis) -> None:
    (log, owners), (other, _) = replica(redis), replica(redis)
    keeping = asyncio.create_task(owners.keep())
    run = Run("r1", "acme", resumable=True)
    run.emit(PLAN, TextDelta("Because"))
    await written(log, run)
    assert not await other.is_lost("acme", "r1")
    keeping.cancel()
    for key in await redis.keys("hasten:orchestrator:*"):
        await redis.delete(key)
    assert await other.is_lost("acme", "r1")
    assert not await other.is_lost("rival", "r1")
    run.finish()
    await log.settle(5)


async def test_a_lost_run_ends_as_interrupted_and_once(redis: Redis) -> None:
    (log, _), (other, _), (third, _) = replica(redis), replica(redis), replica(redis)
    run = Run("r1", "acme", resumable=True)
    run.emit(PLAN, TextDelta("Because"))
    await written(log, run)
    await asyncio.gather(other.end_lost("acme", "r1"), third.end_lost("acme", "r1"))
    await other.end_lost("acme", "r1")
    *before, last = await other.events("acme", "r1")
    assert before == run.events[:2]
    # Far from every number that a reader may have seen of what was not written down.
    assert (last.sequence, type(last.event)) == (1_000_003, Completed)
    assert isinstance(last.event, Completed)
    assert last.event.finish_reason is FinishReason.INTERRUPTED
    assert last.event.answer_state is AnswerState.PARTIAL
    assert last.event.degradations[0].reason == "LOST"
    # Its replica had only stood still: it writes no more.
    run.emit(TextDelta(" of scattering"))
    run.finish()
    await log.settle(5)
    assert len(await other.events("acme", "r1")) == 3


def test_a_lost_run_without_text_ends_as_a_refusal() -> None:
    text, last = ending_of(numbered(PLAN))
    assert isinstance(text.event, TextDelta)
    assert isinstance(last.event, Completed)
    assert (text.sequence, last.sequence) == (1_000_002, 1_000_003)
    assert last.event.quality is Quality.REFUSAL


def test_a_run_with_its_end_gets_no_other() -> None:
    ended = numbered(PLAN, *[each.event for each in ending_of(numbered(PLAN))])
    assert ending_of(ended) == []
    assert ending_of([]) == []


async def test_a_run_that_could_not_be_written_is_lost_for_who_follows_it(valkey: Valkey) -> None:
    async with open_redis(valkey.url, timeout_s=0.3) as redis:
        (log, owners), (other, _) = replica(redis), replica(redis)
        keeping = asyncio.create_task(owners.keep())
        run = Run("r1", "acme", resumable=True)
        run.emit(PLAN)
        await written(log, run)
        valkey.freeze()
        run.emit(TextDelta("Because"))
        await log.settle(10)
        valkey.thaw()
        await until(lambda: other.is_lost("acme", "r1"))
        keeping.cancel()
