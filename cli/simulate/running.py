"""Runs scenarios over many seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from cli.simulate.fixed import Fixed, Way
from cli.simulate.planned import Planned, Terms
from cli.simulate.scenario import Scenario
from cli.simulate.tally import Figures, Tally, mean_and_margin
from cli.simulate.timeline import Timeline
from cli.simulate.world import World
from services.orchestrator.planning.calibration import Calibration

PLANNER = "hasten"


@dataclass(frozen=True, slots=True)
class Result:
    """One way through a scenario, over all seeds.

    Attributes:
        way: its name.
        figures: mean and half the width of the 95 % interval, by name of `Figures`.
        calibration: promises and outcomes of all seeds.
    """

    way: str
    figures: dict[str, tuple[float, float]]
    calibration: Calibration


def ways() -> list[str]:
    """Return the names of the ways through a scenario, hasten's first."""
    return [PLANNER, *(str(way) for way in Way)]


def simulate(
    scenario: Scenario,
    seeds: Sequence[int],
    chosen: Sequence[str],
    terms: Terms | None = None,
    progress: Callable[[], object] = lambda: None,
) -> list[Result]:
    """Take each way through a scenario with each seed."""
    results = []
    for way in chosen:
        calibration, found = Calibration(), []
        for seed in seeds:
            figures, tally = run(scenario, seed, way, terms)
            calibration.merge(tally.calibration)
            found.append(figures)
            progress()
        results.append(Result(way, _pooled(found), calibration))
    return results


def run(scenario: Scenario, seed: int, way: str, terms: Terms | None) -> tuple[Figures, Tally]:
    """Take one way through a scenario once."""
    timeline, world = Timeline(), World(scenario, seed)
    strategy: Planned | Fixed
    if way == PLANNER:
        strategy = Planned(scenario, world, timeline, terms)
    else:
        strategy = Fixed(scenario, world, timeline, Way(way))
    for number, arrives_s in enumerate(world.arrivals_s):
        timeline.start(arrives_s, strategy.request(number))
    timeline.run()
    strategy.tally.calibrate()
    since, until = (int(share * scenario.requests) for share in scenario.window)
    lasted_s = world.arrivals_s[until - 1] - world.arrivals_s[since]
    return strategy.tally.figures(scenario.window, lasted_s), strategy.tally


def _pooled(found: Sequence[Figures]) -> dict[str, tuple[float, float]]:
    return {
        each.name: mean_and_margin([getattr(one, each.name) for one in found])
        for each in fields(Figures)
    }
