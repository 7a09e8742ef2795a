"""Redis behind a Sentinel and as a cluster: by URL, and through the loss of the master."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from libs.clients.cache import CacheClient
from libs.server.testing import serving
from libs.values import Verdict
from libs.values.cache import Everything
from tests.support.blocking import blocking
from tests.support.valkey import Valkey, Watched, clustered
from tests.support.waiting import until
from tests.unit.cache.parts import (
    Documents,
    answer,
    cache_process,
    decided,
    exact,
    semantic,
)

# A Sentinel needs half a second to be sure, then about a second and a half to elect.
BACK_WITHIN_S = 5.0


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    servers = Watched(tmp_path)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Valkey]:
    server = clustered(tmp_path)
    yield server
    server.kill()


@pytest.fixture
async def retrieval() -> AsyncIterator[str]:
    async with serving(Documents().register) as address:
        yield address


async def stored(cache: CacheClient, question: str, entry_id: str) -> bool:
    """Store an answer; a store that is away is no error."""
    return (await cache.store(answer(question, entry_id=entry_id), limit_s=5.0)).stored


async def hits(cache: CacheClient, question: str) -> bool:
    return (await decided(cache, exact(question))).hit


async def finds(cache: CacheClient, entry_id: str) -> bool:
    return (await decided(cache, semantic())).entry_id == entry_id


async def test_a_cluster_keeps_answers_and_tells_replicas(cluster: Valkey, retrieval: str) -> None:
    url = f"redis+cluster://127.0.0.1:{cluster.port}"
    async with (
        cache_process(url, retrieval) as one,
        cache_process(url, retrieval) as other,
    ):
        assert await stored(one, "Who wrote Hamlet?", "run-1")
        assert await hits(other, "Who wrote Hamlet?")
        await until(lambda: finds(other, "run-1"))
        assert (await one.report("acme", "run-1", Verdict.BAD)).removed
        assert not await hits(other, "Who wrote Hamlet?")
        assert await stored(one, "Who wrote Macbeth?", "run-2")
        assert (await other.invalidate("acme", Everything())).count == 1


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_lost_master_costs_misses_and_no_more(
    watched: Watched, retrieval: str, no_blocking: BlockBuster, fault: str
) -> None:
    async with AsyncExitStack() as stack:
        caches = [
            await stack.enter_async_context(
                cache_process(watched.url, retrieval, redis_timeout_s=0.05)
            )
            for _ in range(2)
        ]
        one, other = caches
        await until(lambda: stored(one, "Who wrote Hamlet?", "run-1"))
        await until(lambda: finds(other, "run-1"))

        with blocking(no_blocking):
            watched.master.freeze() if fault == "frozen" else watched.master.kill()
        began_s = time.monotonic()
        reasons = {(await decided(each, exact())).reason for each in caches}
        assert reasons <= {"STORE_UNAVAILABLE", "TIMED_OUT"}

        for number, each in enumerate(caches):
            await until(lambda: stored(each, f"{number}?", f"new-{number}"), within_s=20.0)  # noqa: B023
            await until(lambda: hits(each, "Who wrote Hamlet?"), within_s=20.0)  # noqa: B023
        took_s = time.monotonic() - began_s
        print(f"failover: master {fault}: writes and hits on both replicas {took_s:.2f} s later")
        for each in caches:
            for number in range(2):
                await until(lambda: hits(each, f"{number}?"))  # noqa: B023
        if fault == "frozen":
            # The old master comes back and learns that it is one no more.
            with blocking(no_blocking):
                watched.master.thaw()
            await asyncio.sleep(1.0)
            await until(lambda: stored(one, "Late?", "late"))
            await until(lambda: hits(other, "Late?"))


async def test_without_a_sentinel_s_name_for_it_there_is_no_store(
    watched: Watched, retrieval: str
) -> None:
    url = watched.url.replace(Watched.SERVICE, "another")
    async with cache_process(url, retrieval) as cache:
        assert (await decided(cache, exact())).reason == "STORE_UNAVAILABLE"


async def test_one_address_alone_stays_lost(
    watched: Watched, retrieval: str, no_blocking: BlockBuster
) -> None:
    """What the Sentinel is for: without it, nothing comes back."""
    async with cache_process(watched.master.url, retrieval, redis_timeout_s=0.05) as cache:
        await until(lambda: stored(cache, "Who wrote Hamlet?", "run-1"))
        with blocking(no_blocking):
            watched.master.kill()
        with pytest.raises(TimeoutError):
            await until(lambda: hits(cache, "Who wrote Hamlet?"), within_s=BACK_WITHIN_S)
