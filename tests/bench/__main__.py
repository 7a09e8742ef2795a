"""`make bench`: speed as ratios within one run; figures of other runs do not compare."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from tests.bench.embedding_bench import embedding_ratio
from tests.bench.paths import measure

# What the project promises of these figures; others are shown without a limit.
_LIMITS = {
    "exact_over_echo": 5.0,
    "semantic_ms": 15.0,
    "miss_ms": 60.0,
    "engine_over_library": 0.25,
    "service_over_library": 0.25,
    "ready_s": 2.0,
}


def main() -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    console = Console(stderr=True, highlight=False)
    figures: dict[str, float | None] = {**asyncio.run(measure(console)), **embedding_ratio()}
    if arguments.json:
        print(json.dumps(figures))
    else:
        Console().print(_table(figures))


def _table(figures: Mapping[str, float | None]) -> Table:
    table = Table(box=None)
    table.add_column("figure")
    table.add_column("median", justify="right")
    table.add_column("at most", justify="right")
    for name, value in figures.items():
        limit = _LIMITS.get(name)
        shown = "not installed" if value is None else f"{value:.3f}"
        table.add_row(name, shown, "" if limit is None else f"{limit:g}")
    return table


if __name__ == "__main__":
    main()
