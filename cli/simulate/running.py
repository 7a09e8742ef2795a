"""Runs scenarios over many seeds, as many at once as there are cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context

from cli.simulate.fixed import Fixed, Way
from cli.simulate.planned import Planned
from cli.simulate.scenario import Scenario
from cli.simulate.tally import Figures, Tally, mean_and_margin
from cli.simulate.terms import Terms
from cli.simulate.timeline import Timeline
from cli.simulate.world import Draws, World
from services.orchestrator.planning.calibration import Calibration

PLANNER = "hasten"
# What a call in vain costs, of what it costs as shipped; the losses of hops go along.
CURVE = ((4.0, 0.4), (2.0, 0.6), (1.4, 0.8), (1.0, 1.0), (0.7, 1.5), (0.4, 2.5), (0.2, 4.0))


@dataclass(frozen=True, slots=True)
class Case:
    """One way through one scenario.

    Attributes:
        scenario: of the mesh.
        way: its name.
        terms: of hasten's own way; None is as shipped.
        label: what the result is called; the way's name if empty.
        draws: what calls take; None draws it from the scenario.
    """

    scenario: Scenario
    way: str = PLANNER
    terms: Terms | None = None
    label: str = ""
    draws: Draws | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One way through a scenario, over all seeds.

    Attributes:
        scenario: its name.
        way: its name.
        figures: mean and half the width of the 95 % interval, by name of `Figures`.
        calibration: promises and outcomes of all seeds.
    """

    scenario: str
    way: str
    figures: dict[str, tuple[float, float]]
    calibration: Calibration


def ways() -> list[str]:
    """Return the names of the ways through a scenario, hasten's first."""
    return [PLANNER, *(str(way) for way in Way)]


def curve(scenario: Scenario) -> list[Case]:
    """Return hasten's way at other prices, from few extra calls to many."""
    shipped = Terms()
    return [
        Case(
            scenario,
            terms=replace(
                shipped,
                call_loss=shipped.call_loss * call,
                # Or the fast model would be asked first, and not second.
                fast_loss=shipped.fast_loss * max(1.0, call),
                hop_loss_factor=hop,
                share=1.0,
            ),
            label=f"call x{call:g}, hop x{hop:g}",
        )
        for call, hop in CURVE
    ]


def simulate(
    cases: Sequence[Case],
    seeds: Sequence[int],
    progress: Callable[[], object] = lambda: None,
    workers: int | None = None,
) -> list[Result]:
    """Take each case with each seed.

    Args:
        cases: what to try.
        seeds: of the worlds; every case meets the same ones.
        progress: called after each seed of each case.
        workers: processes; None is one for each core, 1 stays in this one.
    """
    workers = min(workers or os.cpu_count() or 1, len(cases) * len(seeds))
    jobs = [(case, seed) for case in cases for seed in seeds]
    if workers == 1:
        return _results(cases, len(seeds), map(_job, jobs), progress)
    # Spawned: a forked child of a process with threads may wait for ever.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        return _results(cases, len(seeds), pool.map(_job, jobs), progress)


def run(case: Case, seed: int) -> tuple[Figures, Tally]:
    """Take one case with one seed."""
    scenario, timeline = case.scenario, Timeline()
    world = World(scenario, seed, case.draws)
    strategy: Planned | Fixed
    if case.way == PLANNER:
        strategy = Planned(scenario, world, timeline, case.terms)
    else:
        strategy = Fixed(scenario, world, timeline, Way(case.way))
    for number, arrives_s in enumerate(world.arrivals_s):
        timeline.start(arrives_s, strategy.request(number))
    timeline.run()
    strategy.tally.calibrate()
    since, until = (round(share * scenario.requests) for share in scenario.window)
    lasted_s = world.arrivals_s[until - 1] - world.arrivals_s[since]
    return strategy.tally.figures(scenario.window, lasted_s), strategy.tally


def _job(job: tuple[Case, int]) -> tuple[Figures, Calibration]:
    figures, tally = run(*job)
    return figures, tally.calibration


def _results(
    cases: Sequence[Case],
    seed_count: int,
    outcomes: Iterable[tuple[Figures, Calibration]],
    progress: Callable[[], object],
) -> list[Result]:
    found = iter(outcomes)
    results = []
    for case in cases:
        figures, calibration = [], Calibration()
        for _ in range(seed_count):
            each, promises = next(found)
            figures.append(each)
            calibration.merge(promises)
            progress()
        name = case.label or case.way
        results.append(Result(case.scenario.name, name, _pooled(figures), calibration))
    return results


def _pooled(found: Sequence[Figures]) -> dict[str, tuple[float, float]]:
    return {
        each.name: mean_and_margin([getattr(one, each.name) for one in found])
        for each in fields(Figures)
    }
