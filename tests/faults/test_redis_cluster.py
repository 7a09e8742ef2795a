"""The orchestrator on a Redis Cluster of three masters, each with a share of the slots."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from libs.errors import FencedError
from libs.eventlog import EventLog, Whole
from libs.redislink import open_redis
from libs.values import Quality
from services.orchestrator.leases import Held, Leases, Offer
from services.orchestrator.owners import Owners
from services.orchestrator.stops import Stops
from tests.support.valkey import Cluster
from tests.support.waiting import until

# So many names that each master has some.
COUNT = 24
OFFER = Offer(Quality.FULL, 1.0)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    servers = Cluster(tmp_path)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest.fixture
async def redis(cluster: Cluster) -> AsyncIterator[Any]:
    client = open_redis(cluster.url, timeout_s=2.0)
    yield client
    await client.aclose()


def names() -> list[str]:
    return [f"run-{number}" for number in range(COUNT)]


def masters_with_keys(cluster: Cluster) -> int:
    return sum(not node.told("DBSIZE").startswith(":0") for node in cluster.nodes)


async def test_logs_of_all_masters_are_written_together_appended_and_followed(
    cluster: Cluster, redis: Any
) -> None:
    log = EventLog(redis, kind="run", ttl_s=60.0)
    assert await log.write([Whole("acme", name, [b"1", b"2"]) for name in names()]) == (
        [None] * COUNT
    )
    assert await asyncio.to_thread(masters_with_keys, cluster) == 3
    again = await log.write([Whole("acme", names()[0], [b"1"]), Whole("acme", "new", [b"1"])])
    assert isinstance(again[0], FencedError)
    assert again[1] is None
    for name in names()[:6]:
        writer = await log.open("acme", f"{name}-b")
        await log.append(writer, 1, [b"x"])
        follower = log.follow("acme", f"{name}-b")
        assert await anext(follower) == [(1, b"x")]
        await log.append(writer, 2, [b"y"])
        assert await anext(follower) == [(2, b"y")]
        await follower.aclose()  # type: ignore[attr-defined]


async def test_a_stop_is_heard_wherever_who_listens_is_connected(cluster: Cluster) -> None:
    clients = [open_redis(cluster.url, timeout_s=2.0) for _ in range(3)]
    heard: list[tuple[str, str]] = []
    listening = [
        asyncio.create_task(Stops(each).listen(lambda *run: heard.append(run)))
        for each in clients[:2]
    ]
    asking = Stops(clients[2])
    await until(lambda: asking.publish("acme", "first"))
    heard.clear()
    assert await asking.publish("acme", "run-1")

    async def both() -> bool:
        return heard.count(("acme", "run-1")) == 2

    await until(both)
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    for each in clients:
        await each.aclose()


async def test_flights_are_led_by_one_whichever_master_keeps_the_lease(redis: Any) -> None:
    one, other = (Leases(redis, lease_s=3.0) for _ in range(2))
    heard: list[str] = []
    listening = asyncio.create_task(one.listen(heard.append))
    for name in names():
        assert await one.claim(name, f"{name}-1", OFFER) is None
        held = await other.claim(name, f"{name}-2", OFFER)
        assert isinstance(held, Held)
        assert held.run_id == f"{name}-1"
        assert await one.renew(name, f"{name}-1", OFFER) == 1

    async def every_reader_is_heard_of() -> bool:
        for name in names():
            await other.leave(name, f"{name}-1")
        return set(names()) <= set(heard)

    await until(every_reader_is_heard_of)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_a_runs_owner_is_known_and_missed(redis: Any) -> None:
    owners, run_id = Owners(redis, ttl_s=60.0), secrets.token_hex(8)
    keeping = asyncio.create_task(owners.keep())
    await owners.claim("acme", run_id)

    async def is_kept() -> bool:
        return not await owners.is_lost("acme", run_id)

    await until(is_kept)
    await owners.disown("acme", run_id)
    assert await owners.is_lost("acme", run_id)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
