"""A worker of the tests' kinds as a process, to be killed and frozen.

`python -m tests.support.job_worker '{"redis_url": ..., ...}' fenced`
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from services.jobs import record
from services.jobs.records import Records
from services.jobs.worker import attempts
from tests.support.faults.processes import freeze, thaw
from tests.support.job_service import HASTY, Watched, kinds_for, work

FENCED, UNFENCED, BLAMING = "fenced", "unfenced", "blaming"


class WorkerProcess:
    """One worker in a process of its own."""

    def __init__(self, redis_url: str, *, mode: str = FENCED, **settings: Any) -> None:
        """Do jobs of the Redis at `redis_url`.

        Args:
            redis_url: where the jobs are.
            mode: `UNFENCED` takes its fence away, `BLAMING` has all jobs of a dead worker count
                as failed.
            **settings: of the worker.
        """
        told = json.dumps(HASTY | settings | {"redis_url": redis_url})
        self._command = [sys.executable, "-m", "tests.support.job_worker", told, mode]
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start, and return once it takes jobs."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"

    def freeze(self) -> None:
        freeze(self.pid)

    def thaw(self) -> None:
        thaw(self.pid)

    async def has_ended(self) -> None:
        """Wait until it has ended by itself."""
        assert self._process is not None
        await self._process.wait()

    async def kill(self) -> None:
        """End it at once, frozen or not, and wait until it is gone."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        # What is left in the pipe is read, or it would stay open.
        await self._process.communicate()


@asynccontextmanager
async def workers(
    redis_url: str, count: int, **settings: Any
) -> AsyncIterator[list[WorkerProcess]]:
    """Run workers until the block is left."""
    made = [WorkerProcess(redis_url, **settings) for _ in range(count)]
    try:
        await asyncio.gather(*(each.start() for each in made))
        yield made
    finally:
        await asyncio.gather(*(each.kill() for each in made))


async def _serve(told: str, mode: str) -> None:
    settings = json.loads(told)
    if mode == UNFENCED:
        _take_fence_away()
    if mode == BLAMING:
        _blame_all()
    async with work(settings.pop("redis_url"), kinds_for(Watched()), **settings):
        print("ready", flush=True)
        await asyncio.Event().wait()


def _take_fence_away() -> None:
    """Let whoever once had a job go on with it: what the fence is there to prevent."""

    async def beat(self: Records, held: list[Any]) -> list[bool]:
        return [True for _ in held]

    record._check = lambda *_: None  # noqa: SLF001
    Records.beat = beat  # type: ignore[method-assign,assignment]


def _blame_all() -> None:
    """Let a death count for every job of the worker: what suspicion is there to prevent."""
    lost = attempts.lost

    def blamed(one: record.Record) -> record.Record:
        return replace(lost(one), failures=one.failures + 1, is_suspect=False)

    attempts.lost = blamed


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2]))
