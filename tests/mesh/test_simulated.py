"""The real mesh and the virtual-time test-bed, under the same scenarios, tell the same story.

The bands were stated before the first run: both see real scheduling differently, and a few
hundred questions are few. A scenario is cut down to what both have: no reranker, and the
mesh's own work as a hop of its own.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from cli.simulate.planned import MOST_IN_FLIGHT
from cli.simulate.running import Case, simulate
from cli.simulate.scenario import Change, Hop, Scenario, load
from cli.simulate.terms import Terms
from libs.errors import OverloadedError
from libs.values import CacheControl, Quality, Question
from tests.support.corpus import TENANT, other
from tests.support.faults.scenario import ScenarioSlowness
from tests.support.mesh import Mesh, Setting, open_mesh
from tests.support.provider.server import Provider
from tests.support.traffic import Stalls

# How far the mesh may be from the simulation, in shares of all questions.
LATE_BAND, LESSER_BAND, REFUSED_BAND = 0.03, 0.10, 0.10
QUESTIONS = 200
IN_PARALLEL = 4
SEEDS = range(20)
# What the mesh does itself for an answer, on two cores, most of it in one process here.
OWN_MS, OWN_SIGMA = 20.0, 0.4
LEXICAL_LOSS = 0.015
_HAS = ("embedding", "retrieval")
FILE, POLICY = "simulated.toml", "simulated"


@dataclass(frozen=True)
class Smaller:
    """How a scenario is cut down.

    Attributes:
        scale: times longer than it says.
        questions: how many.
        at_once: asked at a time; 0 asks at the scenario's rate, whatever is under way.
        changes: what happens instead; None leaves it.
        window: share of the questions that counts, instead of the scenario's.
    """

    scale: float = 2.0
    questions: int = QUESTIONS
    at_once: int = IN_PARALLEL
    changes: tuple[Change, ...] | None = None
    window: tuple[float, float] = (0.0, 1.0)


SCENARIOS = {
    "steady": Smaller(scale=1.0, questions=120),
    "stragglers": Smaller(),
    "latency_doubles": Smaller(
        changes=(Change("hop", since=0.5, factor=2.2),), window=(0.5, 1.0), questions=400
    ),
    "slow_replica": Smaller(window=(0.3, 0.8), questions=240),
    "overload": Smaller(scale=10.0, at_once=0, questions=600, window=(0.1, 0.9)),
    "provider_outage": Smaller(window=(0.33, 0.66)),
    "cold_start": Smaller(),
}


def smaller(name: str) -> Scenario:
    """Return a scenario as both can have it."""
    found, how = load(name), SCENARIOS[name]
    hops = tuple(
        replace(
            hop,
            median_ms=hop.median_ms * how.scale,
            skip_loss=LEXICAL_LOSS if hop.hop == "embedding" else None,
            cut_loss=LEXICAL_LOSS,
            # Of one backend here: the mesh has no other to ask.
            replicas=1,
        )
        for hop in found.hops
        if hop.hop in _HAS
    )
    return replace(
        found,
        text=replace(
            found.text,
            median_ms=found.text.median_ms * how.scale,
            stand_in_ms=found.text.stand_in_ms * how.scale,
        ),
        hops=hops,
        changes=found.changes if how.changes is None else how.changes,
        requests=how.questions,
        rate_per_s=found.rate_per_s / how.scale,
        first_text_ms=found.first_text_ms * how.scale,
        half_life_s=60.0,
        window=how.window,
    )


def policy_of(scenario: Scenario, crowd: float) -> str:
    """Return a policy that expects of the hops what the test-bed does."""
    terms, text = Terms(), scenario.text
    factor = scenario.expected_factor / 1e3
    costs = {hop.hop: hop.median_ms * factor for hop in scenario.hops}
    costs |= {"model_first_text": text.median_ms * factor}
    costs |= {"fast_first_text": text.median_ms * factor * (text.fast_factor or 1.0)}
    if text.stand_in_ms:
        costs["extract"] = text.stand_in_ms * factor
    losses = {
        "lexical": LEXICAL_LOSS,
        "fast": terms.fast_loss,
        "fast_second": terms.win_loss,
        "second_call": terms.call_loss,
        "extractive": terms.stand_in_loss,
        "crowd": crowd,
    }
    lines = [f"[{POLICY}]", "first_text_s = 60.0", "end_s = 120.0", f"[{POLICY}.costs]"]
    lines += [f"{name} = {cost_s:.6f}" for name, cost_s in costs.items()]
    lines += [f"[{POLICY}.losses]", *(f"{name} = {loss}" for name, loss in losses.items())]
    return "\n".join(lines)


@dataclass(frozen=True)
class Shares:
    """Of the questions: late, answered in a lesser way, and turned away."""

    late: float
    lesser: float
    refused: float


def simulated(scenario: Scenario) -> Shares:
    """Return what the test-bed says; the mesh's own milliseconds are a hop of their own."""
    own = Hop("own", OWN_MS, OWN_SIGMA)
    scenario = replace(scenario, hops=(own, *scenario.hops))
    (result,) = simulate([Case(scenario)], SEEDS, workers=1)
    figures = {name: mean for name, (mean, _) in result.figures.items()}
    refused = figures["refused"]
    return Shares(figures["miss"] - refused, figures["degraded"], refused)


@dataclass
class Count:
    """What came of the questions in the window."""

    asked: int = 0
    late: int = 0
    lesser: int = 0
    refused: int = 0
    lost: Counter[str] = field(default_factory=Counter)


async def measured(mesh: Mesh, slowness: ScenarioSlowness, scenario: Scenario, name: str) -> Shares:
    """Ask the mesh, each question once, and never from the cache."""
    # In virtual time nothing else has the machine: what it was kept from is not held against it.
    stalls = Stalls()
    count, how, numbers = Count(), SCENARIOS[name], iter(range(scenario.requests))
    since, until = (share * scenario.requests for share in scenario.window)

    async def ask(number: int) -> None:
        slowness.done = number / scenario.requests
        found = await outcome(mesh, scenario, number, stalls)
        if since <= number < until:
            count.asked += 1
            count.late += found.startswith("late")
            count.refused += found == "refused"
            count.lesser += found.startswith("lesser")
            count.lost[found] += 1

    async def worker() -> None:
        for number in numbers:
            await ask(number)

    slowness.be(scenario)
    async with stalls.watched():
        if how.at_once:
            await asyncio.gather(*(worker() for _ in range(how.at_once)))
        else:
            await at_rate(scenario, ask)
    print(dict(count.lost))
    return Shares(*(each / count.asked for each in (count.late, count.lesser, count.refused)))


async def at_rate(scenario: Scenario, ask: object) -> None:
    """Ask as a Poisson process does, whatever is under way."""
    gaps = random.Random(1)  # noqa: S311 - reproducible, not secret
    async with asyncio.TaskGroup() as group:
        due_s = asyncio.get_running_loop().time()
        for number in range(scenario.requests):
            due_s += gaps.expovariate(scenario.rate_per_s)
            await asyncio.sleep(due_s - asyncio.get_running_loop().time())
            group.create_task(ask(number))  # type: ignore[operator]


async def outcome(mesh: Mesh, scenario: Scenario, number: int, stalls: Stalls) -> str:
    first_text_s, text = scenario.first_text_ms / 1e3, scenario.text
    # Where a scenario has nothing but its model, there is to be no other way here.
    alone = not text.fast_factor and not text.stand_in_ms
    floor = Quality.FULL if alone else Quality.UNSPECIFIED
    if text.fast_factor and not text.stand_in_ms:
        floor = Quality.FAST_LEXICAL
    question = Question(
        TENANT,
        other(number),
        policy=POLICY,
        first_text_by_s=first_text_s,
        cache_control=CacheControl.BYPASS,
        minimum_quality=floor,
    )
    asked_s = time.monotonic()
    try:
        told = await mesh.ask(question)
    except OverloadedError:
        return "refused"
    completed = told.completed
    first_s = completed.account.first_text_s
    if completed.quality is Quality.REFUSAL or first_s is None:
        return f"late: {told.lost}"
    due_s = first_text_s + stalls.within(asked_s, asked_s + first_s)
    if first_s > due_s:
        return f"late: {first_s - due_s:.3f} s"
    if completed.quality is Quality.FULL:
        return "full"
    return f"lesser: {completed.quality.name} {told.lost}"


@pytest.fixture
def slowness() -> ScenarioSlowness:
    return ScenarioSlowness(7)


@pytest.fixture
def crowd() -> float:
    """What a chance may fall short by before anybody is turned away."""
    return Terms().crowd_loss


@pytest.fixture
def scenario(name: str, crowd: float, tmp_path: Path) -> Scenario:
    found = smaller(name)
    (tmp_path / FILE).write_text(policy_of(found, crowd))
    return found


@pytest.fixture
async def mesh(
    redis_url: str,
    model_dir: Path,
    tmp_path: Path,
    scenario: Scenario,
    provider: Provider,
    slowness: ScenarioSlowness,
    no_blocking: BlockBuster,
) -> AsyncIterator[Mesh]:
    setting = Setting(
        redis_url,
        model_dir,
        tmp_path,
        provider_url=provider.url,
        interceptors=[slowness],
        is_patient=False,
        settings={
            "orchestrator": {"policies_file": tmp_path / FILE, "max_concurrency": MOST_IN_FLIGHT}
        },
    )
    async with open_mesh(setting, no_blocking) as opened:
        yield opened


@pytest.mark.prove
@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_mesh_does_what_the_test_bed_says(
    name: str, scenario: Scenario, mesh: Mesh, slowness: ScenarioSlowness
) -> None:
    expected = await asyncio.to_thread(simulated, scenario)
    found = await measured(mesh, slowness, scenario, name)
    print(f"{name}: mesh {found}, simulated {expected}")
    assert abs(found.late - expected.late) <= LATE_BAND
    assert abs(found.lesser - expected.lesser) <= LESSER_BAND
    assert abs(found.refused - expected.refused) <= REFUSED_BAND


@pytest.mark.prove
@pytest.mark.parametrize(("name", "crowd"), [("overload", 1.0)])
async def test_where_nobody_is_turned_away_hardly_anybody_is_in_time(
    name: str, scenario: Scenario, mesh: Mesh, slowness: ScenarioSlowness
) -> None:
    found = await measured(mesh, slowness, replace(scenario, requests=300), name)
    print(f"{name} without a door: mesh {found}")
    assert found.refused == 0
    assert found.late > 0.5
