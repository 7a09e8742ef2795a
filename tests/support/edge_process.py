"""The edge as an operator starts it, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.valkey import free_port


@dataclass(frozen=True)
class EdgeProcess:
    """A running edge."""

    process: asyncio.subprocess.Process
    port: int

    @property
    def resident_bytes(self) -> int:
        """Memory that it has in the machine."""
        status = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(status.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def cpu_s(self) -> float:
        """Processor time that it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def listens(port: int) -> bool:
    """Return whether somebody listens on a port of this machine."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
    except ConnectionError:  # refused, or reset where the listening just ended
        return False
    return True


@asynccontextmanager
async def edge_process(target: str, **env: str) -> AsyncIterator[EdgeProcess]:
    """Run an edge before orchestrators until the block is left."""
    port = free_port()
    env = {"EDGE_ADDRESS": f"127.0.0.1:{port}", "EDGE_ORCHESTRATOR_TARGET": target, **env}
    command = [sys.executable, "-m", "services.edge"]
    process = await asyncio.create_subprocess_exec(*command, env=os.environ | env)
    try:
        while not await listens(port):
            assert process.returncode is None
            await asyncio.sleep(0.02)
        yield EdgeProcess(process, port)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
