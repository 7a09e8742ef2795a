"""Processes that can be frozen, thawed and killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any


def freeze(pid: int) -> None:
    """Stop a process: it keeps its connections and says nothing more."""
    os.kill(pid, signal.SIGSTOP)


def thaw(pid: int) -> None:
    """Let a frozen process go on."""
    os.kill(pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Backend:
    """A small server of the mesh, `tests.support.faults.backend`, in its process."""

    process: asyncio.subprocess.Process
    address: str

    @property
    def name(self) -> str:
        """Return what its answers are signed with."""
        return str(self.process.pid)

    def freeze(self) -> None:
        """Stop it."""
        freeze(self.process.pid)

    def thaw(self) -> None:
        """Let it go on."""
        thaw(self.process.pid)

    async def kill(self) -> None:
        """End it at once, frozen or not, and wait until it is gone."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def backends(count: int, **conduct: Any) -> AsyncIterator[list[Backend]]:
    """Run servers until the block is left.

    Args:
        count: how many.
        conduct: of their calls, see `Conduct`.
    """
    async with AsyncExitStack() as stack:
        starting = [_start(json.dumps(conduct)) for _ in range(count)]
        started = await asyncio.gather(*starting)
        for each in started:
            stack.push_async_callback(each.kill)
        yield started


async def _start(conduct: str) -> Backend:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.faults.backend",
        conduct,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    return Backend(process, f"127.0.0.1:{port}")
