from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from libs.errors import OverloadedError
from libs.resilience.distribution import Distribution
from libs.resilience.limiter import Limiter
from libs.resilience.sketches import Sketches
from services.orchestrator.planning.door import Caller, Door, Pass, band_of
from services.orchestrator.planning.ladder import Ladder
from services.orchestrator.planning.planner import Planner
from tests.unit.orchestrator.planning.ladders import BEST, STAND_IN

QUIET_S, BUSY_S, PATIENCE_S = 0.2, 0.5, 0.55
PRIOR = {
    ("model", "best"): Distribution.lognormal(QUIET_S, 2 * QUIET_S),
    ("model", "stand-in"): Distribution.point(0.01),
}
CALLER = Caller(Ladder((), "model", (BEST,)), PRIOR, PATIENCE_S, crowd_loss=0.005)
SAFE = replace(CALLER, ladder=Ladder((), "model", (BEST, STAND_IN)))
BACKGROUND = replace(CALLER, left_s=60.0, is_background=True)


@dataclass
class Place:
    """A door, and a writer that is as fast as told."""

    now_s: float = 0.0
    door: Door = field(init=False)
    planner: Planner = field(init=False)
    most: int = 256

    def __post_init__(self) -> None:
        self.planner = Planner(Sketches(60.0, self.clock), self.clock)
        self.door = Door(self.planner, Limiter(self.most), self.clock, 60.0)

    def clock(self) -> float:
        return self.now_s

    def inside(self, count: int, caller: Caller = BACKGROUND) -> list[Pass]:
        return [self.door.let_in(caller) for _ in range(count)]

    def written(self, count: int, took_s: float) -> None:
        """Have texts written beside what is inside, and let time pass for tables."""
        for number in range(count):
            let_in = self.door.let_in(CALLER)
            each_s = took_s * (0.9 + 0.2 * number / count)
            self.planner.learn("model", "best", let_in.band, each_s, is_cut=False)
            let_in.learn(each_s if each_s <= PATIENCE_S else None)
            let_in.leave()
        for _ in range(2):
            self.planner.tables(CALLER.ladder, PRIOR, self.door.band)
            self.now_s += 1.1
            self.planner.refresh()

    def refusals(self, times: int, caller: Caller = CALLER) -> list[OverloadedError]:
        found = []
        for _ in range(times):
            try:
                self.door.admit(caller).leave()
            except OverloadedError as error:
                found.append(error)
        return found


def crowded() -> Place:
    """Return a place that is quick when quiet, and has forty inside."""
    place = Place()
    place.written(200, QUIET_S)
    place.inside(40)
    place.written(200, BUSY_S)
    return place


def test_bands_are_fifteen_percent_wide() -> None:
    assert [band_of(under_way) for under_way in (0, 1, 40, 46, 54)] == [0, 5, 27, 28, 29]


def test_whom_the_others_leave_too_small_a_chance_is_turned_away() -> None:
    refused = crowded().refusals(100)
    assert len(refused) == 90
    assert {error.metadata["cause"] for error in refused} == {"crowd"}
    told = refused[0].metadata
    assert told["hop"] == "model"
    assert float(told["had_ms"]) == 550
    assert float(told["needed_ms"]) > 550
    assert refused[0].retry_after_s == 1.0


def test_one_in_ten_is_let_in_all_the_same_so_that_a_recovery_is_seen() -> None:
    place = crowded()
    place.refusals(10)
    place.written(4_000, QUIET_S)  # what those few have found
    assert not place.refusals(100)


def test_who_is_as_slow_when_quiet_is_not_crowded() -> None:
    place = Place()
    place.written(200, BUSY_S)
    place.inside(40)
    place.written(200, BUSY_S)
    assert not place.refusals(100)


def test_a_few_slow_answers_prove_nothing() -> None:
    place = Place()
    place.written(200, QUIET_S)
    place.inside(40)
    place.written(1, BUSY_S)
    assert not place.refusals(100)


def test_who_can_be_answered_by_the_passages_is_let_in_whatever_is_under_way() -> None:
    assert not crowded().refusals(100, SAFE)


def test_who_has_more_time_is_let_in() -> None:
    assert not crowded().refusals(100, replace(CALLER, left_s=5.0))


def test_a_full_mesh_turns_away_whose_chance_is_at_stake() -> None:
    place = Place(most=8)
    place.inside(8)
    place.written(50, BUSY_S)
    assert {error.metadata["cause"] for error in place.refusals(20)} == {"limit"}
    assert not place.refusals(20, replace(CALLER, left_s=5.0))


def test_background_fills_three_fifths_and_stays_behind_who_waits() -> None:
    place = Place(most=10)
    place.inside(6)
    assert [error.metadata["cause"] for error in place.refusals(1, BACKGROUND)] == ["limit"]
    place = crowded()
    assert not place.refusals(1, BACKGROUND)
    place.refusals(2)
    assert [error.metadata["cause"] for error in place.refusals(1, BACKGROUND)] == ["background"]
    place.now_s += 1.1
    assert not place.refusals(1, BACKGROUND)


def test_who_leaves_twice_gives_one_place_back() -> None:
    place = Place()
    let_in = place.door.admit(CALLER)
    let_in.leave()
    let_in.leave()
    assert place.door.limiter.in_flight == 0
    with pytest.raises(OverloadedError):
        crowded().door.admit(CALLER)
