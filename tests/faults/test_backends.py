"""One of three backends falls silent, dies or fails: callers hardly notice.

Each of these has a twin with a protection off, in which they do notice.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from libs.clients import Connection
from libs.clients.embedding import EmbeddingClient
from libs.errors import MeshError
from libs.resilience import Allowance
from tests.support.faults.backend import make_server
from tests.support.faults.processes import Backend, backends
from tests.support.faults.proxy import Proxy

LIMIT_S = 5.0
NOTICED_WITHIN_S = 2.0
FAILED_SHARE = 0.01
# Long enough that each of three has calls in hand at any time.
BUSY = "0.05"
# gRPC's own values, which never notice a frozen peer in time.
DEAF = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 60_000),
    ("grpc.http2.bdp_probe", 0),
)


@dataclass
class Load:
    """Calls at a steady rate, and what became of them.

    Attributes:
        ends: when each call ended, on the monotonic clock, and its error's reason.
        names: who answered.
    """

    client: EmbeddingClient
    rate: float
    ends: list[tuple[float, str]] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)

    async def run(self, seconds: float) -> None:
        """Call for a while, and wait for the last ones."""
        loop = asyncio.get_running_loop()
        began_s, tasks = loop.time(), []
        for index in range(int(seconds * self.rate)):
            await asyncio.sleep(began_s + index / self.rate - loop.time())
            tasks.append(asyncio.create_task(self._call()))
        await asyncio.gather(*tasks)

    async def _call(self) -> None:
        try:
            self.names[(await self.client.model(limit_s=LIMIT_S)).name] += 1
        except MeshError as error:
            self.ends.append((time.monotonic(), error.reason))
        else:
            self.ends.append((time.monotonic(), ""))

    @property
    def failed(self) -> list[tuple[float, str]]:
        return [each for each in self.ends if each[1]]

    def last_failure_s(self, since_s: float) -> float:
        """Return when the last call failed, in seconds after `since_s`; 0 if none did."""
        return max((at_s - since_s for at_s, _ in self.failed), default=0.0)


def target_of(addresses: list[str]) -> str:
    return "ipv4:" + ",".join(addresses)


async def struck(
    strike: Callable[[Backend], Awaitable[None]],
    *,
    before_s: float,
    after_s: float,
    rate: float,
    delay: str = "0.005",
    **options: Any,
) -> tuple[Load, float]:
    """Strike one of three processes under load; return the load and when that was."""
    async with backends(3, delay=delay) as each:
        target = target_of([backend.address for backend in each])
        async with Connection.open(target, **options) as connection:
            load = Load(EmbeddingClient(connection), rate)
            await load.run(before_s)
            assert len(load.names) == 3, "not all were reached before"
            running = asyncio.create_task(load.run(after_s))
            await asyncio.sleep(0.1)
            at_s = time.monotonic()
            await strike(each[0])
            await running
    return load, at_s


async def freeze(backend: Backend) -> None:
    backend.freeze()


async def kill(backend: Backend) -> None:
    await backend.kill()


def told(what: str, load: Load, at_s: float) -> None:
    count, failed = len(load.ends), Counter(reason for _, reason in load.failed)
    last_s = load.last_failure_s(at_s)
    print(f"backends: {what}: {count} calls, failed {dict(failed)}, the last {last_s:.2f} s after")


@pytest.mark.prove
async def test_a_frozen_backend_fails_hardly_a_call_and_none_after_two_seconds() -> None:
    load, at_s = await struck(freeze, before_s=10, after_s=10, rate=150)
    told("frozen", load, at_s)
    assert load.last_failure_s(at_s) <= NOTICED_WITHIN_S
    assert len(load.failed) <= FAILED_SHARE * len(load.ends)


@pytest.mark.prove
@pytest.mark.parametrize(
    "off", [{"options": DEAF}, {"allowance": Allowance(0, reserve=0)}], ids=["ping", "retry"]
)
async def test_without_pings_or_retries_a_frozen_backend_fails_many(off: dict[str, Any]) -> None:
    load, at_s = await struck(freeze, before_s=3, after_s=7, rate=150, **off)
    told(f"frozen, without {next(iter(off))}", load, at_s)
    is_late = load.last_failure_s(at_s) > NOTICED_WITHIN_S
    assert is_late or len(load.failed) > FAILED_SHARE * len(load.ends)


@pytest.mark.prove
async def test_a_killed_backend_fails_no_call() -> None:
    load, at_s = await struck(kill, before_s=3, after_s=7, rate=200, delay=BUSY)
    told("killed", load, at_s)
    assert load.failed == []


@pytest.mark.prove
async def test_without_retries_a_killed_backend_fails_calls() -> None:
    none = Allowance(0, reserve=0)
    load, at_s = await struck(kill, before_s=1, after_s=2, rate=200, delay=BUSY, allowance=none)
    told("killed, without retries", load, at_s)
    assert load.failed


@asynccontextmanager
async def behind_proxies(
    count: int, rate: float = 50, **options: Any
) -> AsyncIterator[tuple[Load, list[Proxy]]]:
    """Servers in this process, each behind a network of its own, and calls to all."""
    async with AsyncExitStack() as stack:
        proxies = []
        for index in range(count):
            server, port = make_server(str(index))
            await server.start()
            stack.push_async_callback(server.stop, None)
            proxy = Proxy(f"127.0.0.1:{port}", seed=index)
            proxies.append(await stack.enter_async_context(proxy.serve()))
        target = target_of([proxy.address for proxy in proxies])
        connection = await stack.enter_async_context(Connection.open(target, **options))
        yield Load(EmbeddingClient(connection), rate=rate), proxies


async def test_a_backend_behind_a_black_hole_is_noticed_and_its_calls_are_made_elsewhere() -> None:
    # So few calls that those in the hole when it is noticed never outgrow the allowance, however
    # late a busy machine notices.
    async with behind_proxies(3, rate=15) as (load, proxies):
        await load.run(1)
        proxies[0].behave(is_black_hole=True)
        await load.run(3)
        assert load.failed == []
        known, load.names = load.names, Counter()
        await load.run(0.5)
        assert set(load.names) < set(known)


async def test_connections_that_are_reset_fail_no_call() -> None:
    async with behind_proxies(3) as (load, proxies):
        await load.run(1)
        running = asyncio.create_task(load.run(1))
        await asyncio.sleep(0.2)
        proxies[0].reset()
        await running
        assert load.failed == []


async def test_a_backend_that_comes_back_is_used_again() -> None:
    async with behind_proxies(2) as (load, proxies):
        await load.run(0.5)
        proxies[0].behave(refuses=True)
        proxies[0].reset()
        await load.run(0.5)
        proxies[0].behave(refuses=False)
        async with asyncio.timeout(10):
            while len(load.names) < 2 or not load.names.pop("0", 0):
                await load.run(0.2)
