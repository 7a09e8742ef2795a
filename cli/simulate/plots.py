"""Pictures of results, as SVG."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cli.simulate.running import PLANNER, Result
from services.orchestrator.planning.calibration import Calibration

_SIZE = (7.2, 3.4)
_OURS, _OTHERS = "#1f6f8b", "#b9b4a7"
# The same results make the same file, so that a picture changes when a figure does.
_SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "hasten", "font.size": 9}


def draw_ways(results: Sequence[Result], folder: Path) -> list[Path]:
    """Draw, for each scenario, the misses of each way; return the files."""
    files = []
    for name in dict.fromkeys(each.scenario for each in results):
        found = [each for each in results if each.scenario == name]
        if len(found) > 1:
            files.append(_drawn(folder / f"{name}.svg", functools.partial(_bars, results=found)))
    return files


def draw_curve(results: Sequence[Result], folder: Path) -> Path:
    """Draw what fewer misses cost, and return the file."""
    return _drawn(folder / "curve.svg", lambda axes: _curve(axes, results))


def draw_calibration(results: Sequence[Result], folder: Path) -> Path:
    """Draw what was promised against what came, over all scenarios, and return the file."""
    pooled = Calibration()
    for each in results:
        pooled.merge(each.calibration)
    return _drawn(folder / "calibration.svg", lambda axes: _reliability(axes, pooled))


def _drawn(path: Path, draw: Callable[[Axes], None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_SETTINGS):
        figure = Figure(_SIZE, layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        figure.savefig(path, format="svg", metadata={"Date": None})
    return path


def _bars(axes: Axes, results: Sequence[Result]) -> None:
    shown = list(reversed(results))
    misses = [100 * each.figures["miss"][0] for each in shown]
    margins = [100 * each.figures["miss"][1] for each in shown]
    colors = [_OURS if each.way == PLANNER else _OTHERS for each in shown]
    bars = axes.barh([each.way for each in shown], misses, xerr=margins, color=colors)
    axes.bar_label(bars, [f"{each:.2f} %" for each in misses], padding=6)
    axes.margins(x=0.15)
    axes.set_xlabel(f"{shown[0].scenario}: requests without first text in time, %")


def _curve(axes: Axes, results: Sequence[Result]) -> None:
    extra = [100 * each.figures["extra"][0] for each in results]
    for name, color in (("miss", _OURS), ("degraded", _OTHERS)):
        found = [100 * each.figures[name][0] for each in results]
        axes.plot(extra, found, "o-", color=color, label=name)
    axes.set_yscale("log")
    axes.set_xlabel("extra calls to the fast model, % of requests")
    axes.set_ylabel("% of requests")
    axes.legend(frameon=False)


def _reliability(axes: Axes, calibration: Calibration) -> None:
    found = calibration.deciles()
    axes.plot([0, 1], [0, 1], color=_OTHERS)
    axes.plot([each[1] for each in found], [each[2] for each in found], "o", color=_OURS)
    for count, said, was in found:
        axes.annotate(f"{count:,}", (said, was), (4, -10), textcoords="offset points", fontsize=7)
    axes.set_xlabel("promised probability of a first text in time")
    axes.set_ylabel("share that had it")
