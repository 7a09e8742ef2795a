"""Calls one after another by several callers, in a process of its own: `-m tests.bench.load`.

Reads what to do as one JSON object, and writes what came of it as another.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from grpc import aio

from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.errors import OverloadedError
from libs.values import CacheLayer
from tests.bench.echo import METHOD
from tests.bench.rig import STORED, ask
from tests.bench.timing import OtherWayError, Way, percentile, times_ms

_WARM_UP_S = 0.5


@dataclass(frozen=True, slots=True)
class Load:
    """What to do.

    Attributes:
        address: of the orchestrator, or of an echo server if there is no token.
        token: what the orchestrator is told.
        callers: how many call at once.
        seconds: for how long.
    """

    address: str
    token: str
    callers: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it; only calls that went the way that is meant count as calls.

    Attributes:
        per_s: calls a second.
        p50_ms: median of what one took.
        p99_ms: 99th percentile of that.
        other_share: calls that went another way or were refused, as a share of all, in [0, 1].
        cpu_share: processor time that calling took, in cores.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    other_share: float
    cpu_share: float


async def put_on(load: Load) -> Done:
    """Call in a process of its own, and return what came of it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.load"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate(json.dumps(asdict(load)).encode())
    if process.returncode:
        raise RuntimeError(f"the callers ended with status {process.returncode}")
    return Done(**json.loads(said))


async def _call(load: Load) -> Done:
    async with _way(load) as way:
        await _for(way, load.callers, _WARM_UP_S)
        began_s, cpu_s = time.perf_counter(), time.process_time()
        took_ms, others = await _for(way, load.callers, load.seconds)
        lasted_s = time.perf_counter() - began_s
        share = (time.process_time() - cpu_s) / lasted_s
    p50_ms, p99_ms = percentile(took_ms, 50), percentile(took_ms, 99)
    other_share = others / (others + len(took_ms))
    return Done(len(took_ms) / lasted_s, p50_ms, p99_ms, other_share, share)


async def _for(way: Way, callers: int, seconds: float) -> tuple[list[float], int]:
    """Return the times of calls in ms, and how many others went another way or were refused."""
    end_s = time.perf_counter() + seconds
    took_ms: list[float] = []
    others = 0

    async def call() -> None:
        nonlocal others
        while time.perf_counter() < end_s:
            found = await times_ms(way, 1)
            took_ms.extend(found)
            others += not found

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())
    return took_ms, others


@asynccontextmanager
async def _way(load: Load) -> AsyncIterator[Way]:
    if load.token:
        async with Connection.open(load.address, token=load.token) as connection:
            client = AnswerClient(connection)

            async def exact() -> None:
                try:
                    await ask(client, STORED, CacheLayer.EXACT)
                except OverloadedError as error:
                    await asyncio.sleep(error.retry_after_s or 0.0)
                    raise OtherWayError("it was refused") from error

            yield exact
        return
    async with aio.insecure_channel(load.address) as channel:
        method: Any = channel.unary_unary(METHOD)

        async def echo() -> None:
            await method(b"x" * 256)

        yield echo


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_call(Load(**json.load(sys.stdin)))))))
