"""How much callers may have: counted together, or each its part while Redis is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from libs.config import ConfigError
from libs.redislink import open_redis
from services.edge.access import ledger as ledgers
from services.edge.access.caller import Caller
from services.edge.access.ledger import LocalLedger, SharedLedger
from services.edge.access.quota import Plans, Quota, load_plans
from services.edge.access.quotas import Quotas
from services.edge.access.tab import Tab
from services.edge.problem import ProblemError


class Clock:
    """Far from the end of a minute and of a day."""

    now_s = 86_400.0 * 20_000 + 600.0

    def __call__(self) -> float:
        return self.now_s


def caller(tenant_id: str = "acme", quota: Quota | None = None) -> Caller:
    made = Caller(tenant_id, "key 1", frozenset({"*"}), frozenset({"*"}))
    return made if quota is None else Caller(*(tenant_id, "key 1"), *((frozenset(),) * 2), quota)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    opened: Redis = open_redis(redis_url, timeout_s=5.0)
    yield opened
    await opened.aclose()


def shared(redis: Redis, quota: Quota, **given: Any) -> Quotas:
    return Quotas(Plans(quota), SharedLedger(redis), limit_s=5.0, **given)


async def take(quotas: Quotas, who: Caller | None = None, *, streaming: bool = False) -> str:
    """Take and give back at once; return what stands in the way."""
    try:
        async with quotas.within(who or caller(), streaming=streaming):
            return ""
    except ProblemError as error:
        problem = error.problem
    assert problem.status == 429
    assert problem.retry_after_s is not None
    assert problem.retry_after_s > 0
    return problem.detail.partition(":")[0]


async def test_two_replicas_share_one_quota(redis: Redis) -> None:
    one, two = (shared(redis, Quota(requests_per_minute=3)) for _ in range(2))
    assert [await take(each) for each in (one, two, one, two)] == [
        "",
        "",
        "",
        "requests_per_minute",
    ]
    assert await take(two, caller("other")) == ""


async def test_what_is_left_is_told(redis: Redis) -> None:
    quotas = shared(redis, Quota(requests_per_minute=10))
    assert quotas.headers(caller()) == {}
    await take(quotas)
    assert quotas.headers(caller())["RateLimit-Policy"] == '"requests";q=10;w=60'
    assert quotas.headers(caller())["RateLimit"] == '"requests";r=9;t=6'


async def test_requests_come_back_one_by_one() -> None:
    clock = Clock()
    quotas = Quotas(Plans(Quota(requests_per_minute=6)), clock=clock)
    assert [await take(quotas) for _ in range(7)] == [""] * 6 + ["requests_per_minute"]
    clock.now_s += 10
    assert [await take(quotas) for _ in range(2)] == ["", "requests_per_minute"]
    clock.now_s += 3600
    assert [await take(quotas) for _ in range(7)] == [""] * 6 + ["requests_per_minute"]


async def test_streams_count_while_they_are_open(redis: Redis) -> None:
    one, two = (shared(redis, Quota(streams=1)) for _ in range(2))
    async with one.within(caller(), streaming=True):
        assert await take(two, streaming=True) == "streams"
        assert await take(two) == ""
    assert await take(two, streaming=True) == ""


async def test_the_streams_of_a_killed_replica_are_free_soon(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "LEASE_S", 0.2)
    killed, other = SharedLedger(redis), shared(redis, Quota(streams=1))
    assert (await killed.take("acme", Quota(streams=1), "a-lease")).cause == ""
    assert await take(other, streaming=True) == "streams"
    await asyncio.sleep(0.3)
    assert await take(other, streaming=True) == ""


async def test_a_stream_that_lives_on_keeps_its_place(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "LEASE_S", 0.5)
    ledger, other = SharedLedger(redis), shared(redis, Quota(streams=1))
    await ledger.take("acme", Quota(streams=1), "a-lease")
    for _ in range(4):
        await asyncio.sleep(0.2)
        await ledger.renew("acme", "a-lease")
    assert await take(other, streaming=True) == "streams"
    await ledger.leave("acme", "a-lease")
    assert await take(other, streaming=True) == ""


@pytest.mark.parametrize("limit", ["tokens_per_minute", "tokens_per_day"])
async def test_tokens_are_paid_for_afterwards(redis: Redis, limit: str) -> None:
    one, two = (shared(redis, Quota(**{limit: 100})) for _ in range(2))
    assert await take(one) == ""
    await one.charge(caller(), 99)
    assert await take(two) == ""
    await two.charge(caller(), 1)
    assert await take(one) == limit


async def test_tokens_come_back_with_the_next_minute() -> None:
    clock = Clock()
    quotas = Quotas(Plans(Quota(tokens_per_minute=10, tokens_per_day=25)), clock=clock)
    for _ in range(2):
        await quotas.charge(caller(), 10)
        assert await take(quotas) == "tokens_per_minute"
        clock.now_s += 60
        assert await take(quotas) == ""
    await quotas.charge(caller(), 10)
    clock.now_s += 60
    assert await take(quotas) == "tokens_per_day"
    clock.now_s += 86_400
    assert await take(quotas) == ""


async def test_a_key_may_have_less_than_its_tenant(redis: Redis) -> None:
    quotas = shared(redis, Quota(requests_per_minute=5))
    few = caller(quota=Quota(requests_per_minute=1))
    assert [await take(quotas, few) for _ in range(2)] == ["", "requests_per_minute"]
    assert await take(quotas) == ""


async def test_what_a_key_is_refused_its_tenant_has_not_used(redis: Redis) -> None:
    quotas = shared(redis, Quota(requests_per_minute=5))
    few = caller(quota=Quota(requests_per_minute=1))
    assert [await take(quotas, few) for _ in range(9)] == ["", *["requests_per_minute"] * 8]
    assert [await take(quotas) for _ in range(5)] == [*[""] * 4, "requests_per_minute"]


async def test_while_redis_is_gone_each_replica_allows_its_part() -> None:
    gone: Redis = open_redis("redis://127.0.0.1:1/0", timeout_s=0.2)
    quotas = Quotas(Plans(Quota(requests_per_minute=6)), SharedLedger(gone), replicas=3)
    # Never unlimited, never closed.
    assert [await take(quotas) for _ in range(3)] == ["", "", "requests_per_minute"]
    lone = Quotas(Plans(Quota(requests_per_minute=1)), SharedLedger(gone), replicas=3)
    assert [await take(lone) for _ in range(2)] == ["", "requests_per_minute"]
    await gone.aclose()


async def test_redis_is_left_alone_after_it_failed_and_asked_again_later(redis: Redis) -> None:
    class Flaky(SharedLedger):
        asked, fails = 0, True

        async def take(self, *args: Any) -> Any:
            self.asked += 1
            if self.fails:
                raise TimeoutError
            return await super().take(*args)

    clock, flaky = Clock(), Flaky(redis)
    quotas = Quotas(Plans(Quota(requests_per_minute=100)), flaky, limit_s=5.0, clock=clock)
    for _ in range(5):
        await take(quotas)
    assert flaky.asked == 1
    clock.now_s += 1.1
    flaky.fails = False
    await take(quotas)
    await take(quotas)
    assert flaky.asked == 3


async def test_who_has_no_quota_is_not_counted() -> None:
    class Never(LocalLedger):
        async def take(self, *args: Any) -> Any:
            raise AssertionError

    quotas = Quotas(Plans(), Never(Clock()))
    assert await take(quotas, streaming=True) == ""
    await quotas.charge(caller(), 1000)


async def test_a_stream_that_is_cancelled_gives_its_place_back(redis: Redis) -> None:
    quotas = shared(redis, Quota(streams=1))
    inside = asyncio.Event()

    async def hold() -> None:
        async with quotas.within(caller(), streaming=True):
            inside.set()
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    await inside.wait()
    holding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await holding
    assert await take(quotas, streaming=True) == ""


@pytest.mark.parametrize(
    "text",
    [
        "[default]\nrequests = 1",
        "[default]\nstreams = -1",
        "[default]\nstreams = true",
        "[acme]\nstreams = 1",
        "streams",
        "tenants = 1",
    ],
)
def test_limits_that_are_none_end_the_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "quotas.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="EDGE_QUOTAS_FILE="):
        load_plans(path)


def test_a_tenant_has_its_own_limits_or_the_default_ones(tmp_path: Path) -> None:
    path = tmp_path / "quotas.toml"
    path.write_text("[default]\nstreams = 4\n[tenants.acme]\ntokens_per_day = 9\n")
    plans = load_plans(path)
    assert plans.of("acme") == Quota(tokens_per_day=9)
    assert plans.of("another") == Quota(streams=4)


async def test_a_job_is_paid_for_once_by_whichever_edge_sees_its_end(redis: Redis) -> None:
    quota = Quota(tokens_per_day=100)
    edges = [shared(redis, quota) for _ in range(2)]
    await edges[0].owe(caller(), "job-1")
    found = [tab for edge in edges for tab in await edge.due()]
    assert [(tab.tenant_id, tab.job_id) for tab in found] == [("acme", "job-1")]
    for edge in edges:
        await edge.settle(found[0], 60)
    assert await take(edges[0]) == ""
    await edges[1].owe(caller(), "job-2")
    await edges[0].settle(Tab("acme", "job-2", ("acme",)), 60)
    assert await take(edges[1]) == "tokens_per_day"


async def test_a_job_that_was_noted_while_redis_was_gone_is_paid_for_too(redis: Redis) -> None:
    gone = Quotas(Plans(Quota(tokens_per_day=100)), clock=Clock())
    await gone.owe(caller(), "job-1")
    (tab,) = await gone.due()
    assert await gone.due() == []
    await gone.settle(tab, 100)
    assert await take(gone) == "tokens_per_day"


async def test_what_no_quota_counts_owes_nothing(redis: Redis) -> None:
    quotas = shared(redis, Quota(requests_per_minute=5))
    await quotas.owe(caller(), "job-1")
    assert await quotas.due() == []
