"""Cache replicas, each in a process of its own, that can be frozen, killed and begun again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from libs.clients import Connection
from libs.clients.cache import CacheClient
from tests.support.valkey import free_port

_READY_WITHIN_S = 30.0


class CacheReplica:
    """`python -m services.cache`, always at the same address; `client` speaks to it alone."""

    def __init__(self, env: dict[str, str]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._env = env | {"CACHE_ADDRESS": self.address}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.log: list[str] = []

    async def start(self) -> None:
        """Start it, and return once it says that it is ready."""
        self._ready.clear()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.cache",
            env=os.environ | self._env,
            stderr=asyncio.subprocess.PIPE,
        )
        assert self._process.stderr is not None
        self._reading = asyncio.create_task(self._read(self._process.stderr))
        async with asyncio.timeout(_READY_WITHIN_S):
            await self._ready.wait()

    async def kill(self) -> None:
        """End it as `kill -9` does, frozen or not."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            await self._reading

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, sig: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(sig)

    async def _read(self, lines: asyncio.StreamReader) -> None:
        while line := await lines.readline():
            self.log.append(line.decode().rstrip())
            if self.log[-1].endswith("is ready"):
                self._ready.set()


@asynccontextmanager
async def cache_replicas(
    count: int, redis_url: str, retrieval_target: str, **env: str
) -> AsyncIterator[tuple[Sequence[CacheReplica], Sequence[CacheClient]]]:
    """Yield replicas that are ready, and a client of each, until the block is left."""
    settings = {
        "CACHE_REDIS_URL": redis_url,
        "CACHE_RETRIEVAL_TARGET": retrieval_target,
        "CACHE_DRAIN_S": "0",
        "HASTEN_LOG_LEVEL": "info",
        "OTEL_SDK_DISABLED": "true",
    }
    replicas = [CacheReplica(settings | env) for _ in range(count)]
    async with AsyncExitStack() as stack:
        for each in replicas:
            stack.push_async_callback(each.kill)
        await asyncio.gather(*(each.start() for each in replicas))
        clients = [
            CacheClient(await stack.enter_async_context(Connection.open(each.address)))
            for each in replicas
        ]
        try:
            yield replicas, clients
        finally:
            for each in replicas:
                with suppress(ProcessLookupError):
                    each.thaw()
