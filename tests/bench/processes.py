"""What each process of the mesh takes to start, and to have."""

from __future__ import annotations

from tests.bench.rig import Rig
from tests.bench.used import peak_mib


def measure_processes(rig: Rig) -> dict[str, float]:
    """Return seconds to ready, each started alone, and the most memory so far, in MiB."""
    names = [name for name in rig.children if not name.endswith("-model")]
    return {
        **{f"ready_s_{name}": rig.ready_s[name] for name in names},
        **{f"peak_mib_{name}": peak_mib(rig.pid(name)) for name in names},
        "peak_mib_all": sum(peak_mib(rig.pid(name)) for name in names),
    }
