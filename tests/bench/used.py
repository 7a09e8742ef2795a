"""What a process has used of the machine; Linux tells."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# Of a core: what a service takes that is asked nothing.
_IDLE_SHARE = 0.1
_LOOK_S = 1.0


def peak_mib(pid: int) -> float:
    """Return the most memory that a process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} does not say what memory it has had")


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def machine_cpu_s() -> float:
    """Return the processor time that the whole machine has worked, of all cores."""
    user, nice, system, _idle, _waiting, irq, soft_irq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + soft_irq) * _TICK_S


async def settled(pid: int, limit_s: float) -> None:
    """Wait until a process does nothing any more, at most `limit_s`."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        before_s = cpu_s(pid)
        await asyncio.sleep(_LOOK_S)
        if cpu_s(pid) - before_s < _IDLE_SHARE * _LOOK_S:
            return
