"""The leases of flights, on a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from libs.errors import EventLogUnavailableError
from libs.redislink import open_redis
from libs.values import Quality
from services.orchestrator.leases import Leases, Offer
from tests.support.valkey import Valkey
from tests.support.waiting import until

OFFER = Offer(Quality.FULL, 0.5)
NAME = "acme/why"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, timeout_s=2) as client:
        yield client


@pytest.fixture
def leases(redis: Redis) -> Leases:
    return Leases(redis, lease_s=10.0)


@pytest.fixture
def elsewhere(redis: Redis) -> Leases:
    """The same leases, as another replica sees them."""
    return Leases(redis, lease_s=10.0)


async def test_one_leads_and_the_others_are_told_whom_to_follow(
    leases: Leases, elsewhere: Leases
) -> None:
    assert await leases.claim(NAME, "r1", OFFER) is None
    held = await elsewhere.claim(NAME, "r2", OFFER)
    assert held is not None
    assert (held.run_id, held.offer.quality) == ("r1", Quality.FULL)
    assert held.offer.first_text_in_s <= 0.5
    assert await leases.claim("rival/why", "r3", OFFER) is None


async def test_a_lease_is_not_ended_while_another_replica_reads(
    leases: Leases, elsewhere: Leases
) -> None:
    await leases.claim(NAME, "r1", OFFER)
    await elsewhere.claim(NAME, "r2", OFFER)
    assert await leases.release(NAME, "r1") == 1
    await elsewhere.leave(NAME, "r1")
    assert await leases.release(NAME, "r1") == 0
    assert await elsewhere.claim(NAME, "r2", OFFER) is None


async def test_a_leader_that_was_replaced_can_neither_renew_nor_end_the_lease(
    leases: Leases, elsewhere: Leases
) -> None:
    await leases.claim(NAME, "r1", OFFER)
    await leases.release(NAME, "r1", always=True)
    await elsewhere.claim(NAME, "r2", OFFER)
    assert await leases.renew(NAME, "r1", OFFER) == -1
    await leases.release(NAME, "r1", always=True)
    assert await leases.follow(NAME, "r1") is None
    assert await leases.follow(NAME, "r2") is not None


async def test_a_lease_that_is_not_renewed_and_a_silent_reader_expire(redis: Redis) -> None:
    leases, elsewhere = Leases(redis, lease_s=0.3), Leases(redis, lease_s=0.3)
    await leases.claim(NAME, "r1", OFFER)
    await elsewhere.claim(NAME, "r2", OFFER)

    async def is_alone() -> bool:
        return await leases.renew(NAME, "r1", OFFER) == 0

    await until(is_alone)
    await asyncio.sleep(0.4)
    assert await elsewhere.claim(NAME, "r2", OFFER) is None
    assert await leases.renew(NAME, "r1", OFFER) == -1


async def test_a_leader_hears_of_readers_elsewhere(leases: Leases, elsewhere: Leases) -> None:
    heard: list[str] = []
    listening = asyncio.create_task(leases.listen(heard.append))
    await leases.claim(NAME, "r1", OFFER)

    async def is_heard() -> bool:
        await elsewhere.claim(NAME, "r2", OFFER)
        return bool(heard)

    await until(is_heard)
    listening.cancel()
    await asyncio.wait({listening})
    assert set(heard) == {NAME}


async def test_a_dead_redis_is_said(valkey: Valkey) -> None:
    async with open_redis(valkey.url, timeout_s=1) as client:
        leases = Leases(client, lease_s=0.3)
        await asyncio.to_thread(valkey.kill)
        with pytest.raises(EventLogUnavailableError):
            await leases.claim(NAME, "r1", OFFER)


async def test_a_lease_of_a_run_whose_end_was_seen_counts_no_more(
    leases: Leases, elsewhere: Leases
) -> None:
    await leases.claim(NAME, "r1", OFFER)
    assert await elsewhere.claim(NAME, "r2", OFFER, ended="another") is not None
    assert await elsewhere.claim(NAME, "r2", OFFER, ended="r1") is None
    await leases.release(NAME, "r1", always=True)
    assert await leases.follow(NAME, "r2") is not None


async def test_a_lease_ends_with_the_connection_that_its_replica_listens_on(
    redis_url: str, leases: Leases
) -> None:
    """A killed process is noticed long before its lease expires."""
    async with open_redis(redis_url, timeout_s=2) as doomed:
        leading = Leases(doomed, lease_s=60.0)
        listening = asyncio.create_task(leading.listen(lambda _: None))

        async def is_listening() -> bool:
            channels: list[bytes] = await doomed.pubsub_channels("hasten:flight:*")
            return bool(channels)

        await until(is_listening)
        assert await leading.claim(NAME, "r1", OFFER) is None
        assert await leases.follow(NAME, "r1") is not None
        listening.cancel()
        await asyncio.wait({listening})

    async def is_lost() -> bool:
        return await leases.follow(NAME, "r1") is None

    await until(is_lost)
    assert await leases.claim(NAME, "r2", OFFER) is None
