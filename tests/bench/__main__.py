"""`make bench`: speed as ratios within one run; figures of other runs do not compare."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from tests.bench.embedding_bench import embedding_ratio
from tests.bench.entries import measure_entries
from tests.bench.first_text import measure_first_text
from tests.bench.litellm_proxy import measure_litellm
from tests.bench.paths import measure_ways
from tests.bench.processes import measure_processes
from tests.bench.profiling import write_profiles
from tests.bench.report import around, markdown, note, table, write
from tests.bench.rig import Rig, open_rig
from tests.bench.throughput import measure_throughput

_QUICK = ("ways", "entries", "first_text", "throughput", "processes", "embedding")
_FULL = ("litellm",)
_FEW, _MANY = 1_000, 100_000
# What a figure of LiteLLM is if it did not install.
_LITELLM = ("litellm_hit_over_hasten", "litellm_added_ms", "litellm_hit_ms")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a table or one JSON object."""
    load = os.getloadavg()[0]
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.write:
        _check(parser, arguments.write)
    if arguments.profile:
        asyncio.run(_profile(arguments.profile))
        return
    groups = set(arguments.only or (*_QUICK, *(_FULL if arguments.full else ())))
    console = Console(stderr=True, highlight=False)
    figures = _measure(groups, console, full=arguments.full)
    if arguments.write:
        command = shlex.join(["python", "-m", "tests.bench", *(argv or sys.argv[1:])])
        where_from = note(command, load, datetime.now(UTC).date())
        write(arguments.write, markdown(figures, where_from))
    if arguments.json:
        print(json.dumps(figures))
    else:
        Console().print(table(figures))


def _check(parser: argparse.ArgumentParser, page: Path) -> None:
    """Refuse a page that cannot be written before minutes are spent on its figures."""
    try:
        around(page)
    except ValueError as error:
        parser.error(f"--write: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", nargs="+", choices=(*_QUICK, *_FULL), help="these groups alone")
    parser.add_argument(
        "--full", action="store_true", help=f"{_MANY:,} stored answers and LiteLLM, too"
    )
    parser.add_argument("--write", type=Path, help="page whose table is written anew")
    parser.add_argument(
        "--profile", type=Path, help="write flame graphs to this folder, and measure nothing"
    )
    return parser


async def _profile(folder: Path) -> None:
    async with open_rig(Console(stderr=True, highlight=False)) as rig:
        await write_profiles(rig, folder)


def _measure(groups: Collection[str], console: Console, *, full: bool) -> dict[str, float | None]:
    figures: dict[str, float | None] = {}
    if "embedding" in groups:
        console.print("measuring: embedding")
        figures |= embedding_ratio()
    if set(groups) - {"embedding"}:
        figures |= asyncio.run(_measure_mesh(groups, console, full=full))
    return figures


async def _measure_mesh(
    groups: Collection[str], console: Console, *, full: bool
) -> dict[str, float | None]:
    figures: dict[str, float | None] = {}
    async with open_rig(console) as rig:
        for group in ("ways", "first_text", "throughput", "litellm", "entries", "processes"):
            if group in groups:
                console.print(f"measuring: {group}")
                figures |= (found := await _of(group, rig))
                console.print(json.dumps(found), soft_wrap=True)
        # Last, because it leaves the cache larger than the others are to find it.
        if full and "entries" in groups:
            figures |= await measure_entries(rig, _MANY)
    return figures


async def _of(group: str, rig: Rig) -> dict[str, float] | dict[str, None]:
    match group:
        case "ways":
            return await measure_ways(rig)
        case "first_text":
            return await measure_first_text(rig)
        case "throughput":
            return await measure_throughput(rig)
        case "litellm":
            return await measure_litellm(rig) or dict.fromkeys(_LITELLM)
        case "entries":
            return await measure_entries(rig, _FEW)
    return measure_processes(rig)


if __name__ == "__main__":
    main()
