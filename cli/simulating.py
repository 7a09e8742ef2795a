"""`hasten simulate`: tries plans in virtual time, and shows what comes of them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cli.clients import connected
from cli.home import Place
from cli.simulate.replay import changes_of, recorded_s, replayed
from cli.simulate.running import PLANNER, Case, Result, curve, simulate, ways
from cli.simulate.scenario import ScenarioError, load, names
from cli.tracing import ANSWERS, LIMIT_S
from libs.clients.traces import TracesClient
from libs.values import Account
from libs.values.account_json import account_from_json
from libs.values.traces import ACCOUNT_ATTRIBUTE, ALL_TENANTS, Span

# A tenth with fewer plans says little of how well they agree.
_LEAST_COUNT = 500


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be simulated.

    Attributes:
        scenarios: names and files; none is all that come along.
        seed_count: worlds for each way.
        requests: in each world; None is as the scenario says.
        ways: names; none is all.
        is_curve: True tries hasten's way at other prices instead of the ways of others.
    """

    scenarios: tuple[str, ...] = ()
    seed_count: int = 20
    requests: int | None = None
    ways: tuple[str, ...] = ()
    is_curve: bool = False


def cases_of(order: Order) -> list[Case]:
    """Return what an order asks for.

    Raises:
        ScenarioError: there is no such scenario or way.
    """
    for way in order.ways:
        if way not in ways():
            raise ScenarioError(f"--way: {way!r} is not one of {', '.join(ways())}")
    chosen = order.ways or tuple(ways())
    cases: list[Case] = []
    for name in order.scenarios or names():
        scenario = load(name)
        if order.requests is not None:
            scenario = replace(scenario, requests=order.requests)
        cases += curve(scenario) if order.is_curve else [Case(scenario, way) for way in chosen]
    return cases


async def read_accounts(place: Place, count: int) -> list[Account]:
    """Return the accounts of the newest answers that the mesh's trace store holds."""
    async with connected(place, "traces") as connection:
        return await accounts_of(TracesClient(connection), count)


async def accounts_of(client: TracesClient, count: int) -> list[Account]:
    """Return the accounts of the newest answers, however they were asked."""
    spans: list[Span] = []
    for name in ANSWERS:
        spans += await client.list(ALL_TENANTS, limit=count, root_name=name, limit_s=LIMIT_S)
    newest = sorted(spans, key=lambda span: span.start_ns, reverse=True)
    told = [span.attributes.get(ACCOUNT_ATTRIBUTE) for span in newest]
    return [account_from_json(each) for each in told if isinstance(each, str)][:count]


def replay_cases(
    accounts: Sequence[Account], budget_s: float, told: Sequence[str], requests: int
) -> list[Case]:
    """Return the cases of today and of what if; see `cli.simulate.replay`."""
    return replayed(accounts, budget_s, changes_of(told), requests)


def carry_out(cases: Sequence[Case], seed_count: int, console: Console) -> list[Result]:
    """Simulate, and show on the console how far it is."""
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("simulating", total=len(cases) * seed_count)
        return simulate(cases, range(seed_count), lambda: progress.advance(task))


def show(console: Console, results: Sequence[Result]) -> None:
    """Print a table for each scenario."""
    for name in dict.fromkeys(each.scenario for each in results):
        table = Table(title=name, title_justify="left", box=None, padding=(0, 1, 0, 0))
        for column in ("way", "miss %", "degr. %", "extra %", "refused %"):
            table.add_column(column, justify="left" if column == "way" else "right")
        for column in ("p50 ms", "p99 ms", "good /s", "gap"):
            table.add_column(column, justify="right")
        for each in results:
            if each.scenario == name:
                table.add_row(*_row(each))
        console.print(table)


def show_recorded(console: Console, accounts: Sequence[Account]) -> None:
    """Print what was recorded, to compare with what is simulated of it."""
    found = recorded_s(accounts)
    if found:
        p50_ms, p99_ms = (1e3 * found[int(q * len(found))] for q in (0.5, 0.99))
        console.print(f"recorded: {len(found)} answers, p50 {p50_ms:.0f} ms, p99 {p99_ms:.0f} ms")


def results_json(results: Sequence[Result], seed_count: int) -> str:
    """Return results as one JSON object."""
    members = [_members(each) for each in results]
    return json.dumps({"seeds": seed_count, "results": members}, ensure_ascii=False)


def draw(results: Sequence[Result], folder: Path, *, is_curve: bool) -> list[Path]:
    """Draw what there is to draw, and return the files.

    Raises:
        ScenarioError: what draws is not installed.
    """
    try:
        from cli.simulate import plots  # noqa: PLC0415 - an extra, and a slow import
    except ImportError as error:
        raise ScenarioError("--plots needs the extra `plots`: pip install hasten[plots]") from error
    if is_curve:
        return [plots.draw_curve(results, folder)]
    ours = [each for each in results if each.way == PLANNER]
    return [*plots.draw_ways(results, folder), plots.draw_calibration(ours, folder)]


def _row(result: Result) -> list[str]:
    figures = result.figures
    shares = [_told(figures[name], 100.0, 2) for name in ("miss", "degraded", "extra")]
    refused = f"{100 * figures['refused'][0]:.1f}"
    times = [f"{1e3 * figures[name][0]:.0f}" for name in ("p50_s", "p99_s")]
    pace = f"{figures['goodput_per_s'][0]:.1f}"
    has_promised = bool(result.calibration.deciles())
    gap = f"{100 * result.calibration.worst_gap(_LEAST_COUNT):.1f}" if has_promised else ""
    return [result.way, *shares, refused, *times, pace, gap]


def _told(figure: tuple[float, float], factor: float, digits: int) -> str:
    mean, margin = (factor * each for each in figure)
    text = f"{mean:.{digits}f}"
    return text if math.isnan(margin) or not mean else f"{text} ±{margin:.{digits}f}"


def _members(result: Result) -> dict[str, Any]:
    figures = {
        name: {"mean": mean, "margin": None if math.isnan(margin) else margin}
        for name, (mean, margin) in result.figures.items()
    }
    calibration = {
        "brier_score": result.calibration.brier_score,
        "worst_gap": result.calibration.worst_gap(_LEAST_COUNT),
        "tenths": [
            {"count": count, "promised": said, "kept": was}
            for count, said, was in result.calibration.deciles()
        ],
    }
    return {
        "scenario": result.scenario,
        "way": result.way,
        "figures": figures,
        "calibration": calibration,
    }
