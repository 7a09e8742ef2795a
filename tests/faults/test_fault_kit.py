"""The faults that tests use are the faults they say."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.clients import Connection
from libs.clients.embedding import EmbeddingClient
from libs.errors import BudgetExhaustedError, UnreachableError
from tests.support.faults.processes import backends
from tests.support.faults.proxy import Proxy

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy before an echo."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Proxy(f"127.0.0.1:{port}").serve() as serving:
        yield serving
    server.close()


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Ends]:
    host, _, port = proxy.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def echo_s(ends: Ends, data: bytes = b"ping") -> float:
    """Send, await the same back, and return the seconds that took."""
    began_s = time.monotonic()
    ends[1].write(data)
    assert await asyncio.wait_for(ends[0].readexactly(len(data)), 10) == data
    return time.monotonic() - began_s


async def test_a_good_network_changes_nothing(proxy: Proxy) -> None:
    async with connected(proxy) as ends:
        await echo_s(ends, bytes(range(256)) * 4096)


async def test_delay_and_jitter_keep_the_order(proxy: Proxy) -> None:
    proxy.behave(delay_s=0.05, jitter_s=0.05)
    async with connected(proxy) as ends:
        assert await echo_s(ends, b"0123456789" * 50_000) >= 0.1


async def test_a_trickle_is_slow(proxy: Proxy) -> None:
    proxy.behave(trickle_bytes_s=1000)
    async with connected(proxy) as ends:
        assert await echo_s(ends, b"x" * 300) >= 0.2


async def test_a_black_hole_swallows_until_it_is_closed(proxy: Proxy) -> None:
    async with connected(proxy) as ends:
        await echo_s(ends)
        proxy.behave(is_black_hole=True)
        ends[1].write(b"lost?")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ends[0].read(5), 0.1)
        proxy.behave(is_black_hole=False)
        assert await asyncio.wait_for(ends[0].readexactly(5), 10) == b"lost?"


async def test_a_reset_breaks_connections(proxy: Proxy) -> None:
    async with connected(proxy) as ends:
        await echo_s(ends)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(ends[0].readexactly(1), 10)


async def test_drops_end_a_share_of_connections_the_same_with_each_seed(proxy: Proxy) -> None:
    proxy.behave(drop_rate=1.0)
    async with connected(proxy) as ends:
        ends[1].write(b"gone")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(ends[0].readexactly(4), 10)


async def test_a_network_may_refuse(proxy: Proxy) -> None:
    proxy.behave(refuses=True)
    async with connected(proxy) as ends:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(ends[0].readexactly(1), 10)


async def test_a_frozen_process_is_silent_until_it_is_thawed() -> None:
    async with backends(1) as (backend,), Connection.open(backend.address) as connection:
        client = EmbeddingClient(connection)
        assert (await client.model(limit_s=10)).name == backend.name
        backend.freeze()
        with pytest.raises((BudgetExhaustedError, UnreachableError)):
            await client.model(limit_s=0.2)
        backend.thaw()
        assert (await client.model(limit_s=10)).name == backend.name
        await backend.kill()
        assert backend.process.returncode == -signal.SIGKILL
