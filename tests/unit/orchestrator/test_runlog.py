"""Runs on their way into the event log, on a real Valkey."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.eventlog import EventLog
from libs.redislink import open_redis
from libs.values import TextDelta
from services.orchestrator.run import Run
from services.orchestrator.runlog import Codec, RunLog
from services.orchestrator.servicer import decode_event, encode_event
from tests.support.valkey import Valkey


@pytest.fixture
async def log(redis_url: str) -> AsyncIterator[EventLog]:
    async with open_redis(redis_url, timeout_s=2) as redis:
        yield EventLog(redis, kind="run", ttl_s=60)


def begun(name: str) -> Run:
    run = Run(name, "acme", resumable=False)
    run.emit(TextDelta(f"of {name}"))
    return run


def ended(name: str) -> Run:
    run = begun(name)
    run.finish()
    return run


async def test_settling_writes_at_once_the_runs_that_have_ended(log: EventLog) -> None:
    runs, over = RunLog(log, Codec(encode_event, decode_event)), []
    for name in ("r1", "r2"):
        runs.record(ended(name), over.append)
    assert await runs.events("acme", "r1") == []
    await runs.settle(5.0)
    assert [run.run_id for run in over] == ["r1", "r2"]
    for run in over:
        assert run.logged_count == 1
        assert await runs.events("acme", run.run_id) == run.events


async def test_settling_waits_no_longer_than_it_may_for_a_run_that_goes_on(log: EventLog) -> None:
    runs, over = RunLog(log, Codec(encode_event, decode_event)), []
    run = begun("r1")
    runs.record(run, over.append)
    await runs.settle(0.2)
    assert over == []
    run.finish()
    await runs.settle(5.0)
    assert over == [run]
    assert await runs.events("acme", "r1") == run.events


async def test_settling_without_runs_returns(log: EventLog) -> None:
    await RunLog(log, Codec(encode_event, decode_event)).settle(5.0)


async def test_of_runs_that_end_together_a_refused_one_costs_no_other(log: EventLog) -> None:
    await log.open("acme", "r1", [b"somebody else's"])
    runs, over = RunLog(log, Codec(encode_event, decode_event)), []
    for name in ("r1", "r2"):
        runs.record(ended(name), over.append)
    await runs.settle(5.0)
    assert [run.logged_count for run in over] == [0, 1]


async def test_a_dead_redis_lets_runs_go_unlogged(valkey: Valkey) -> None:
    async with open_redis(valkey.url, timeout_s=1) as redis:
        log = EventLog(redis, kind="run", ttl_s=60)
        runs, over = RunLog(log, Codec(encode_event, decode_event)), []
        await asyncio.to_thread(valkey.kill)
        runs.record(ended("r1"), over.append)
        await runs.settle(5.0)
        assert [run.logged_count for run in over] == [0]
