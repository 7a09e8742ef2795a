import threading
import time
from dataclasses import dataclass

import pytest

from libs.resilience.distribution import Distribution
from libs.resilience.sketches import Sketches
from services.orchestrator.planning.ladder import Ladder
from services.orchestrator.planning.planner import Planner
from services.orchestrator.planning.tables import Node, Stage, TextStage
from tests.unit.orchestrator.planning.ladders import BEST, FULL, MEDIANS_S, SAFE

PRIOR = {key: Distribution.lognormal(each_s, 3 * each_s) for key, each_s in MEDIANS_S.items()}

ALONE = Ladder((), "model", (BEST,))


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def planner(clock: Clock) -> Planner:
    return Planner(Sketches(60.0, clock), clock)


def slow(planner: Planner) -> None:
    for _ in range(500):
        planner.learn("model", "best", 0, 0.55, is_cut=False)


def test_before_anything_was_called_the_targets_stand(planner: Planner) -> None:
    assert 0.9 < planner.tables(FULL, PRIOR).outlook.met_at(0.6) < 1


def test_tables_stay_until_they_are_old(planner: Planner, clock: Clock) -> None:
    made = planner.tables(FULL, PRIOR)
    slow(planner)
    planner.refresh()
    assert planner.tables(FULL, PRIOR) is made
    clock.now_s = 1.1
    planner.refresh()
    assert planner.tables(FULL, PRIOR) is not made


def test_what_was_learned_changes_who_writes(planner: Planner, clock: Clock) -> None:
    assert _writer(planner.tables(FULL, PRIOR)) == "best"
    slow(planner)
    planner.tables(FULL, PRIOR)
    clock.now_s = 1.1
    planner.refresh()
    assert _writer(planner.tables(FULL, PRIOR)) == "fast"


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_call_that_was_cut_is_not_taken_for_a_fast_one(planner: Planner, *, is_cut: bool) -> None:
    for _ in range(300):
        planner.learn("model", "best", 0, 0.2, is_cut=is_cut)
    met = planner.tables(ALONE, PRIOR).outlook.met_at(0.21)
    assert met < 0.4 if is_cut else met > 0.9


def test_what_nobody_looks_at_is_not_made_anew(planner: Planner, clock: Clock) -> None:
    planner.tables(FULL, PRIOR)
    planner.tables(SAFE, PRIOR)
    planner.tables(SAFE, PRIOR)
    clock.now_s = 2.0
    assert [due.ladder for due in planner.stale()] == [SAFE]


def test_tables_can_be_made_in_a_thread_while_calls_are_counted(
    planner: Planner, clock: Clock
) -> None:
    was = planner.tables(FULL, PRIOR)
    planner.tables(FULL, PRIOR)
    clock.now_s = 2.0
    (due,) = planner.stale()
    made: list[Node] = []
    thread = threading.Thread(target=lambda: made.append(due.build()))
    thread.start()
    slow(planner)
    thread.join()
    planner.adopt(due, made[0])
    assert planner.tables(FULL, PRIOR) is made[0]
    # Of what was counted after the copy, nothing is in it.
    assert made[0].outlook.met_at(0.6) == pytest.approx(was.outlook.met_at(0.6), abs=0.01)


def test_load_bands_are_told_apart_once_there_are_tables_of_each(
    planner: Planner, clock: Clock
) -> None:
    for _ in range(200):
        planner.learn("model", "best", 0, 0.1, is_cut=False)
        planner.learn("model", "best", 9, 0.59, is_cut=False)
    planner.tables(FULL, PRIOR, 0)
    assert planner.tables(FULL, PRIOR, 9) is planner.tables(FULL, PRIOR, 0)
    clock.now_s = 1.1
    planner.refresh()
    quiet, busy = (planner.tables(FULL, PRIOR, band) for band in (0, 9))
    assert quiet.outlook.loss_at(0.6) < busy.outlook.loss_at(0.6)


@pytest.mark.prove
def test_a_plan_costs_at_most_150_microseconds(planner: Planner) -> None:
    planner.tables(SAFE, PRIOR)

    def request() -> None:
        node, left_s = planner.tables(SAFE, PRIOR), 0.6
        node.outlook.met_at(left_s)
        while isinstance(node, Stage):
            if node.is_done(left_s):
                node.limit_s(left_s)
                planner.learn(node.step.hop, node.step.rung, 0, 0.02, is_cut=False)
                left_s -= 0.02
            node = node.then
        node.decide(left_s)
        planner.learn("model", "best", 0, 0.2, is_cut=False)

    took_us = []
    for _ in range(20):
        began_s = time.perf_counter()
        for _ in range(500):
            request()
        took_us.append((time.perf_counter() - began_s) / 500 * 1e6)
    print(f"a plan costs {sorted(took_us)[10]:.1f} us")
    assert sorted(took_us)[10] <= 150


def _writer(node: Node) -> str:
    return _text(node).decide(0.45).writer.rung


def _text(node: Node) -> TextStage:
    while isinstance(node, Stage):
        node = node.then
    return node
