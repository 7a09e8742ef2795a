import math
from collections.abc import Generator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.simulate.scenario import load, names
from cli.simulate.tally import mean_and_margin
from cli.simulate.timeline import Parked, Process, Timeline
from cli.simulate.world import FIRST, SECOND, Backend, World


def test_processes_go_on_in_the_order_of_their_times() -> None:
    timeline, seen = Timeline(), []

    def process(name: str, wait_s: float) -> Process:
        seen.append((timeline.now_s, name))
        yield wait_s
        seen.append((timeline.now_s, name))

    timeline.start(0.2, process("late", 0.1))
    timeline.start(0.1, process("early", 0.5))
    timeline.start(0.1, process("second", 0.05))
    timeline.run()
    assert [name for _, name in seen] == ["early", "second", "second", "late", "late", "early"]
    assert [when for when, _ in seen] == sorted(when for when, _ in seen)


@settings(max_examples=50, deadline=None)
@given(
    slots=st.integers(1, 4),
    calls=st.lists(st.tuples(st.floats(0, 2), st.floats(0.01, 1), st.floats(0.05, 2)), max_size=30),
)
def test_a_backend_never_serves_more_than_its_places(
    slots: int, calls: list[tuple[float, float, float]]
) -> None:
    timeline = Timeline()
    backend = Backend(timeline, slots)
    ends: list[tuple[float, float, bool]] = []

    def call(takes_s: float, patience_s: float) -> Generator[float | Parked, None, None]:
        until_s = timeline.now_s + patience_s
        is_served = yield from backend.serve(takes_s, until_s)
        if is_served:
            ends.append((timeline.now_s - takes_s, timeline.now_s, is_served))
        assert not is_served or timeline.now_s <= until_s + 1e-9

    for at_s, takes_s, patience_s in calls:
        timeline.start(at_s, call(takes_s, patience_s))
    timeline.run()
    for began_s, _, _ in ends:
        at_once = sum(one <= began_s + 1e-9 and began_s + 1e-9 < other for one, other, _ in ends)
        assert at_once <= slots


def test_the_same_seed_draws_the_same_world_and_another_another() -> None:
    scenario = replace(load("stragglers"), requests=200)
    one, same, other = World(scenario, 1), World(scenario, 1), World(scenario, 2)
    for hop in scenario.parts:
        drawn = [one.takes_s(hop.hop, number) for number in range(200)]
        assert drawn == [same.takes_s(hop.hop, number) for number in range(200)]
        assert drawn != [other.takes_s(hop.hop, number) for number in range(200)]
    assert one.arrivals_s == same.arrivals_s


def test_a_second_call_takes_its_own_time() -> None:
    world = World(load("stragglers"), 1)
    assert world.takes_s("model", 0, FIRST) != world.takes_s("model", 0, SECOND)


def test_stragglers_are_those_of_the_experiment() -> None:
    scenario = load("stragglers")
    assert [(hop.hop, hop.median_ms, hop.sigma) for hop in scenario.parts] == [
        ("cache", 2, 0.3),
        ("embedding", 12, 0.4),
        ("retrieval", 35, 0.5),
        ("rerank", 60, 0.4),
        ("model", 180, 0.45),
    ]
    assert (scenario.straggler_share, scenario.straggler_factor) == (0.02, 8)
    assert (scenario.first_text_ms, scenario.text.fast_factor) == (600, 0.45)
    assert not scenario.text.stand_in_ms


def test_a_change_holds_for_its_time_and_its_replica_alone() -> None:
    scenario = load("slow_replica")
    world, plain = World(scenario, 1), World(replace(scenario, changes=()), 1)
    count = scenario.requests
    factor = [
        world.takes_s("retrieval", number) / plain.takes_s("retrieval", number)
        for number in range(count)
    ]
    slow = np.flatnonzero(np.array(factor) > 2)
    assert slow.min() >= 0.3 * count
    assert slow.max() < 0.8 * count
    assert set(slow % 3) == {1}


def test_the_second_window_after_the_change_is_looked_at() -> None:
    scenario = load("latency_doubles")
    count = scenario.requests
    assert round(scenario.changes[0].since * count) == 20_000
    assert [round(share * count) for share in scenario.window] == [22_000, 24_000]


@pytest.mark.parametrize("name", names())
def test_every_scenario_that_comes_along_can_be_read(name: str) -> None:
    assert load(name).about


def test_a_margin_is_that_of_student() -> None:
    # Of 1, 2, 3: standard error 0.577, t of two degrees of freedom 4.303.
    assert mean_and_margin([1, 2, 3]) == (2, pytest.approx(2.484, abs=0.001))
    assert math.isnan(mean_and_margin([1.0])[1])
