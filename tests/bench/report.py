"""The figures of a run, as a table for people; ratios come first."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from rich.table import Table

from tests.bench.figures import FIGURES, RATIO, Figure

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_NOT_THERE = "not installed"

Figures = Mapping[str, float | None]


def rows(figures: Figures) -> list[tuple[Figure, str]]:
    """Return the figures that were taken, ratios first, each as it is shown.

    Raises:
        KeyError: there is a figure that nothing says what it is.
    """
    known = {figure.name: figure for figure in FIGURES}
    order = list(known)
    taken = sorted((known[name] for name in figures), key=lambda each: order.index(each.name))
    ordered = sorted(taken, key=lambda each: each.unit != RATIO)
    return [(figure, shown(figures[figure.name], figure.unit)) for figure in ordered]


def shown(value: float | None, unit: str) -> str:
    """Return a figure with its unit, to three digits or so."""
    if value is None:
        return _NOT_THERE
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def table(figures: Figures) -> Table:
    """Return the figures for a terminal."""
    made = Table(box=None)
    made.add_column("figure")
    made.add_column("what")
    made.add_column("measured", justify="right")
    made.add_column("at most", justify="right")
    for figure, value in rows(figures):
        made.add_row(figure.name, figure.title, value, _limit(figure))
    return made


def markdown(figures: Figures, note: str) -> str:
    """Return the figures for a page, under a line that says where they are from."""
    lines = [note, "", "| what | measured | at most | name |", "|---|---|---|---|"]
    for figure, value in rows(figures):
        lines.append(f"| {figure.title} | {value} | {_limit(figure)} | `{figure.name}` |")
    return "\n".join(lines)


def write(page: Path, text: str) -> None:
    """Put a text between the markers of a page, in place of what is there.

    Raises:
        ValueError: there is no such page, or it has not both markers, once each and in order.
    """
    before, after = around(page)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")


def around(page: Path) -> tuple[str, str]:
    """Return what stands before and after the figures of a page.

    Raises:
        ValueError: as `write` does.
    """
    if not page.is_file():
        msg = f"{page}: there is no such page"
        raise ValueError(msg)
    before, begun, rest = page.read_text("utf-8").partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended) or BEGIN in rest or END in after:
        msg = f"{page}: {BEGIN} and {END} must stand there once"
        raise ValueError(msg)
    return before, after


def note(command: str, load: float, today: date) -> str:
    """Return where figures are from.

    Args:
        command: what gave them.
        load: processes that wanted to run before, in the mean of a minute.
        today: when.
    """
    cores = os.cpu_count() or 1
    quiet = "quiet" if load < cores / 4 else "busy with other work as well"
    python = platform.python_version()
    return (
        f"One run on {today:%-d %B %Y}: `{command}`. {cores} cores, loopback, Python {python}; the"
        f" machine was {quiet} when it began (load {load:.1f}). Medians, if nothing else is said."
    )


def _limit(figure: Figure) -> str:
    return "" if figure.limit is None else f"{figure.limit:g}"
