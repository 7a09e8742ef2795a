"""Pictures of the shipped decision: recall over false reuse of each set, with cosine beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cli.pairing import COSINES, Outcome, Rates, at_cosine, at_target, rates

_SIZE: Final = (9.6, 6.0)
_OURS, _OTHERS = "#1f6f8b", "#8a8578"
_COLUMNS: Final = 3
_STEPS: Final = 200
# The same figures make the same file, so that a picture changes when a figure does.
_SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "hasten", "font.size": 9}


def draw(sets: Mapping[str, Sequence[Outcome]], path: Path) -> None:
    """Draw a panel for each set.

    Args:
        sets: outcomes by the name of the set, as `figures.outcomes` returns them.
        path: of the SVG.
    """
    rows = -(-len(sets) // _COLUMNS)
    with mpl.rc_context(_SETTINGS):
        figure = Figure(_SIZE, layout="constrained")
        panels = list(figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).flat)
        for axes, (name, found) in zip(panels, sets.items(), strict=False):
            _panel(axes, name, found)
        for axes in panels[len(sets) :]:
            axes.set_visible(False)
        figure.axes[0].legend(frameon=False, loc="lower right")
        figure.supxlabel("false reuse: share of pairs that differ and are reused")
        figure.supylabel("recall: share of pairs that are the same and are reused")
        figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(axes: Axes, name: str, found: Sequence[Outcome]) -> None:
    levels = [step / _STEPS for step in range(1, _STEPS + 1)]
    _line(axes, [rates(found, at_target(level)) for level in levels], _OURS, "by probability")
    _line(axes, [rates(found, at_cosine(level)) for level in levels], _OTHERS, "by cosine")
    for floor in COSINES:
        x, y = _point(rates(found, at_cosine(floor)))
        axes.plot(x, y, "o", color=_OTHERS, markersize=4)
        axes.annotate(f"{floor:g}", (x, y), (5, -9), textcoords="offset points", fontsize=7)
    axes.plot(*_point(rates(found, lambda each: each.hit)), "D", color=_OURS, label="as it ships")
    axes.set_title(f"{name} ({len(found):,} pairs)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def _line(axes: Axes, curve: Sequence[Rates], color: str, label: str) -> None:
    x, y = zip(*map(_point, curve), strict=True)
    axes.plot(x, y, color=color, label=label)


def _point(found: Rates) -> tuple[float, float]:
    # A set of one label alone has nothing to show on one side.
    return found.false_reuse or 0.0, found.recall or 0.0
