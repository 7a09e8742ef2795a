"""Where the processes of a mesh spend their time on each way: flame graphs, by py-spy."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench.first_text import through
from tests.bench.load import Load, put_on
from tests.bench.paths import http_exact
from tests.bench.rig import Rig
from tests.bench.timing import Way, times_ms
from tests.bench.web import line_to

# The processes that work on a way.
WATCHED = {
    "exact": ("orchestrator", "cache"),
    "http": ("edge",),
    "semantic": ("cache", "embedding"),
    "miss": ("retrieval", "generation"),
    "first_text": ("orchestrator-model", "generation-model"),
    "throughput": ("orchestrator",),
}
_SECONDS = 8
_RATE = 200
_CALLERS = 64
_TITLE = re.compile(r'(id="title"[^>]*>)[^<]*')


async def write_profiles(rig: Rig, folder: Path) -> None:
    """Write a flame graph for each process that works on each way: `WAY-PROCESS.svg`.

    Raises:
        FileNotFoundError: py-spy is not installed here.
    """
    async with line_to(rig.place.addresses["edge"]) as edge:
        for name, way in _ways(rig, lambda: http_exact(edge)).items():
            rig.console.print(f"profiling: {name}")
            await _profile(
                rig, way, {each: folder / f"{name}-{each}.svg" for each in WATCHED[name]}
            )


def _ways(rig: Rig, http: Way) -> dict[str, Way]:
    async def first_text() -> float:
        return (await through(rig))[0]

    async def throughput() -> None:
        load = Load(rig.place.address("orchestrator"), rig.place.token, _CALLERS, _SECONDS)
        await put_on(load)

    return {
        "exact": rig.exact,
        "http": http,
        "semantic": rig.semantic,
        "miss": rig.miss,
        "first_text": first_text,
        "throughput": throughput,
    }


async def _profile(rig: Rig, way: Way, files: Mapping[str, Path]) -> None:
    """Take a way again and again while the processes are watched."""
    await times_ms(way, 1)
    watching = [
        await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).with_name("py-spy")), "record", "--nonblocking"),
            *("--pid", str(rig.pid(name)), "--duration", str(_SECONDS), "--rate", str(_RATE)),
            *("--format", "flamegraph", "--output", str(path)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        for name, path in files.items()
    ]
    end_s = time.monotonic() + _SECONDS
    while time.monotonic() < end_s:
        await times_ms(way, 1)
    for each in watching:
        if await each.wait():
            raise RuntimeError(f"py-spy ended with status {each.returncode}")
    for path in files.values():
        path.write_text(tidy(path.read_bytes(), path.stem), "utf-8")


def tidy(picture: bytes, title: str) -> str:
    """Return a flame graph with a title, in place of the command that made it.

    A name that was read while it changed may hold bytes that are no text: they go.
    """
    text = "".join(
        each for each in picture.decode("utf-8", "replace") if each >= " " or each == "\n"
    )
    return _TITLE.sub(lambda found: found[1] + title, text, count=1)
