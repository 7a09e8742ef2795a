"""`hasten cache eval` and `hasten cache tune`: how well reuse is decided, on pairs of one's own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.home import Home
from cli.options import Json


def eval_reuse(
    pairs: Annotated[Path, typer.Argument(help='A file of lines {"a", "b", "same"}.')],
    *,
    plot: Annotated[Path | None, typer.Option(help="Also draw the curves, as SVG.")] = None,
    as_json: Json = False,
) -> None:
    """Store `a`, look up `b`, and tell how often an answer was reused, rightly and wrongly."""
    from cli.pairing import curves, read_pairs  # noqa: PLC0415 - slow imports, needed here alone
    from cli.plotting import plotted  # noqa: PLC0415
    from cli.reusing import evaluate, tell  # noqa: PLC0415

    console = Console(highlight=False, stderr=as_json)
    outcomes = asyncio.run(evaluate(Home().find(), read_pairs(pairs), console))
    if plot is not None:
        plot.write_text(plotted(curves(outcomes)), "utf-8")
    tell(outcomes, console, as_json=as_json)


def tune(
    pairs: Annotated[Path, typer.Argument(help='A file of lines {"a", "b", "same"}.')],
    *,
    most_false: Annotated[
        float, typer.Option(min=0, max=1, help="Share of different questions that may be reused.")
    ] = 0.01,
    plot: Annotated[Path | None, typer.Option(help="Also draw the curves, as SVG.")] = None,
    as_json: Json = False,
) -> None:
    """Find the target for `CACHE_TARGET` on your own pairs."""
    from cli.pairing import (  # noqa: PLC0415 - slow imports, needed here alone
        at_target,
        curves,
        least_target,
        rates,
        read_pairs,
    )
    from cli.plotting import plotted  # noqa: PLC0415
    from cli.reusing import evaluate  # noqa: PLC0415

    console = Console(highlight=False, stderr=as_json)
    outcomes = asyncio.run(evaluate(Home().find(), read_pairs(pairs), console))
    if plot is not None:
        plot.write_text(plotted(curves(outcomes)), "utf-8")
    target = least_target(outcomes, most_false)
    found = None if target is None else rates(outcomes, at_target(target))
    recall = None if found is None else found.recall
    if as_json:
        false_reuse = None if found is None else found.false_reuse
        typer.echo(json.dumps({"target": target, "recall": recall, "false_reuse": false_reuse}))
    elif target is None:
        console.print(f"no target reuses {most_false:.1%} or less of what differs")
    else:
        console.print(f"CACHE_TARGET={target:g}: recall {recall}, wrongly <= {most_false:.1%}")
