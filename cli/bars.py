"""Bars on a time axis, for a terminal of any width, colours or not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_LEAST_BAR = 16
_TICKS = 4


@dataclass(frozen=True, slots=True)
class Look:
    """How a kind of time looks; the glyphs tell kinds apart where there is no colour."""

    name: str
    glyph: str
    style: str


_BEYOND = Look("granted beyond the end", "→", "dim")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A length of time of one kind."""

    start_s: float
    length_s: float
    look: Look


class Bar:
    """Stretches on a time axis, as wide as there is room."""

    def __init__(
        self, axis_s: float, stretches: Sequence[Stretch], behind: Stretch | None = None
    ) -> None:
        self._axis_s = axis_s
        self._stretches = stretches
        self._behind = behind

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(_LEAST_BAR, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bar = Text(no_wrap=True, overflow="crop", end="")
        for look, cells in groupby(self._cells(options.max_width)):
            glyph, style = (look.glyph, look.style) if look else (" ", "")
            bar.append(glyph * len(list(cells)), style)
        yield bar

    def _cells(self, width: int) -> list[Look | None]:
        cell_s = self._axis_s / width
        cells = _dominant(self._stretches, cell_s, width)
        if self._behind is None:
            return cells
        behind = _dominant([self._behind], cell_s, width)
        if self._behind.start_s + self._behind.length_s > self._axis_s + cell_s:
            behind[-1] = _BEYOND
        return [front or back for front, back in zip(cells, behind, strict=True)]


def _dominant(stretches: Iterable[Stretch], cell_s: float, width: int) -> list[Look | None]:
    """Return for each cell what has most of it; what is short still shows if it is alone."""
    looks: list[Look | None] = [None] * width
    shares = [0.0] * width
    for each in stretches:
        end_s = each.start_s + each.length_s
        first = min(width - 1, max(0, int(each.start_s / cell_s)))
        last = min(width - 1, int(end_s / cell_s))
        for cell in range(first, last + 1):
            share = min(end_s, (cell + 1) * cell_s) - max(each.start_s, cell * cell_s)
            if share > shares[cell]:
                looks[cell], shares[cell] = each.look, share
    return looks


class Axis:
    """The head of a column of bars: the times along them."""

    def __init__(self, axis_s: float) -> None:
        self._axis_s = axis_s

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(_LEAST_BAR, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, line = options.max_width, ""
        marks = [(width * tick // _TICKS, self._axis_s * tick / _TICKS) for tick in range(_TICKS)]
        end = f"{ms(self._axis_s)} ms"
        for (at, seconds), (following, _) in pairwise([*marks, (width - len(end) + 1, 0.0)]):
            label = ms(seconds) if seconds else "0"
            if at + len(label) < following:
                line = line.ljust(at) + label
        yield Text(line.ljust(width - len(end)) + end, "dim", no_wrap=True, overflow="crop")


def legend(looks: Iterable[Look]) -> Text:
    """Return which glyph means what."""
    text = Text()
    for look in looks:
        text.append(look.glyph, look.style).append(f" {look.name}  ", "dim")
    return text


def chart(name: str, axis_s: float, numbers: Sequence[str], name_width: int = 20) -> Table:
    """Return a table with a column of names, one of bars, and columns of numbers."""
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(name, no_wrap=True, max_width=name_width)
    table.add_column(Axis(axis_s), ratio=1, no_wrap=True)
    for each in numbers:
        table.add_column(each, justify="right", no_wrap=True)
    return table


def clean(text: str) -> str:
    """Return text of unknown origin without what could steer a terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def ms(seconds: float) -> str:
    """Return seconds as milliseconds, for people."""
    return f"{seconds * 1e3:,.1f}"
