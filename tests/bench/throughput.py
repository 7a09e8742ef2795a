"""How many exact hits a second there are with several callers, and what keeps it from more."""

from __future__ import annotations

import time
from dataclasses import replace

from tests.bench.echo import echo_address
from tests.bench.load import Load, put_on
from tests.bench.rig import Rig
from tests.bench.used import cpu_s, machine_cpu_s

CALLERS = (1, 8, 64)
_SECONDS = 4.0
# Those that work at an exact hit.
_WATCHED = ("orchestrator", "cache", "redis")


async def measure_throughput(rig: Rig) -> dict[str, float]:
    """Return calls a second and times by number of callers, and who was busy with the most."""
    load = Load(rig.place.address("orchestrator"), rig.place.token, 1, _SECONDS)
    found: dict[str, float] = {}
    async with echo_address() as echo:
        for callers in CALLERS:
            here = replace(load, callers=callers)
            bare = await put_on(replace(here, address=echo, token=""))
            found[f"echo_per_s_{callers}"] = bare.per_s
            found |= await _of(rig, here)
            ratio = found[f"exact_per_s_{callers}"] / bare.per_s
            found[f"exact_per_s_{callers}_over_echo"] = ratio
    return found


async def _of(rig: Rig, load: Load) -> dict[str, float]:
    watched = [name for name in _WATCHED if name in rig.children]
    before = {name: cpu_s(rig.pid(name)) for name in watched}
    machine_s, began_s = machine_cpu_s(), time.perf_counter()
    done = await put_on(load)
    lasted_s = time.perf_counter() - began_s
    found = {
        f"exact_per_s_{load.callers}": done.per_s,
        f"exact_p50_ms_{load.callers}": done.p50_ms,
        f"exact_p99_ms_{load.callers}": done.p99_ms,
        f"exact_other_share_{load.callers}": done.other_share,
        f"cores_busy_{load.callers}": (machine_cpu_s() - machine_s) / lasted_s,
    }
    if load.callers == max(CALLERS):
        # Starting the callers takes a part of the time; a share of it is a little too low.
        for name, used_s in before.items():
            found[f"cores_of_{name}"] = (cpu_s(rig.pid(name)) - used_s) / lasted_s
        found["cores_of_callers"] = done.cpu_share
    return found
