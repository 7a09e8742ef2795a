"""A breaker opens when its backend fails, probes it one call at a time, and closes again."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from libs.resilience import Breaker, BreakerLimits

LIMITS = BreakerLimits()


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """A breaker without jitter."""
    return Breaker(clock=clock, draw=lambda: 0.5)


def fail(breaker: Breaker, count: int = LIMITS.consecutive) -> None:
    for _ in range(count):
        breaker.failed(breaker.admit())


def test_five_failures_in_a_row_open_it(breaker: Breaker) -> None:
    fail(breaker, LIMITS.consecutive - 1)
    assert breaker.allows()
    fail(breaker, 1)
    assert not breaker.allows()
    assert breaker.admit() == 0
    assert breaker.retry_after_s() == pytest.approx(LIMITS.first_back_off_s)


def test_a_success_between_them_keeps_it_closed(breaker: Breaker) -> None:
    for _ in range(30):
        for _ in range(4):
            breaker.succeeded(breaker.admit())
        breaker.failed(breaker.admit())
    assert breaker.allows()


def test_calls_that_fail_together_are_one_failure_in_a_row(breaker: Breaker) -> None:
    for _ in range(100):
        breaker.succeeded(breaker.admit())
    for ticket in [breaker.admit() for _ in range(20)]:
        breaker.failed(ticket)
    assert breaker.allows()
    fail(breaker, LIMITS.consecutive - 1)
    assert breaker.is_open


def test_less_than_four_in_five_open_it_once_there_are_ten(breaker: Breaker) -> None:
    for index in range(9):
        (breaker.failed if index % 3 == 2 else breaker.succeeded)(breaker.admit())
    assert breaker.allows()
    breaker.failed(breaker.admit())
    assert breaker.is_open


def test_failures_of_long_ago_are_forgotten(breaker: Breaker, clock: Clock) -> None:
    for _ in range(8):
        breaker.succeeded(breaker.admit())
    for _ in range(2):
        breaker.failed(breaker.admit())
    clock.now_s += LIMITS.window_s + 1
    for _ in range(8):
        breaker.succeeded(breaker.admit())
    breaker.failed(breaker.admit())
    breaker.failed(breaker.admit())
    assert breaker.allows()


def test_a_probe_that_is_served_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now_s += LIMITS.first_back_off_s
    breaker.succeeded(breaker.admit())
    assert not breaker.is_open
    fail(breaker, LIMITS.consecutive - 1)
    assert breaker.allows()


def test_one_probe_at_a_time(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now_s += LIMITS.first_back_off_s
    assert breaker.allows()
    assert breaker.admit()
    assert breaker.admit() == 0
    assert not breaker.allows()


def test_each_failed_probe_doubles_the_pause_up_to_its_limit(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker)
    pauses_s = []
    for _ in range(5):
        pauses_s.append(breaker.retry_after_s())
        clock.now_s += pauses_s[-1]
        breaker.failed(breaker.admit())
    assert pauses_s == pytest.approx([0.25, 0.5, 1.0, 1.0, 1.0])


def test_a_cancelled_probe_frees_its_place_at_once(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now_s += LIMITS.first_back_off_s
    breaker.abandoned(breaker.admit())
    assert breaker.admit()


def test_a_probe_of_which_nothing_is_heard_does_not_shut_it_for_ever(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker)
    clock.now_s += LIMITS.first_back_off_s
    lost = breaker.admit()
    clock.now_s += LIMITS.probe_limit_s
    probe = breaker.admit()
    assert probe
    breaker.abandoned(lost)
    assert breaker.admit() == 0
    breaker.succeeded(probe)
    assert not breaker.is_open


def test_calls_of_before_say_nothing_of_now(breaker: Breaker, clock: Clock) -> None:
    early = breaker.admit()
    fail(breaker)
    breaker.succeeded(early)
    assert breaker.is_open
    clock.now_s += LIMITS.first_back_off_s
    breaker.succeeded(breaker.admit())
    for _ in range(LIMITS.consecutive):
        breaker.failed(early)
    assert not breaker.is_open


def test_a_call_that_was_not_admitted_says_nothing(breaker: Breaker) -> None:
    fail(breaker)
    after_s = breaker.retry_after_s()
    for end in (breaker.succeeded, breaker.failed, breaker.abandoned):
        end(0)
    assert breaker.is_open
    assert breaker.retry_after_s() == after_s


def test_calls_that_were_given_up_are_no_failures(breaker: Breaker) -> None:
    for _ in range(100):
        breaker.abandoned(breaker.admit())
    assert breaker.allows()


@given(draw=st.floats(0, 1, exclude_max=True))
def test_pauses_differ_by_a_fifth_at_most(draw: float) -> None:
    breaker = Breaker(clock=Clock(), draw=lambda: draw)
    fail(breaker)
    assert 0.2 <= breaker.retry_after_s() <= 0.3 + 1e-9


class Life(RuleBasedStateMachine):
    """Any order of calls, ends and waits."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker(clock=self.clock, draw=lambda: 0.5)
        self.tickets: list[int] = []
        self.probes: list[tuple[int, float]] = []

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.5, 4.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule()
    def call(self) -> None:
        was_open, may = self.breaker.is_open, self.breaker.allows()
        ticket = self.breaker.admit()
        assert bool(ticket) == may
        if not ticket:
            return
        self.tickets.append(ticket)
        if was_open:
            live = [each for each in self.probes if self._is_live(each)]
            assert not live
            self.probes.append((ticket, self.clock.now_s))

    def _is_live(self, probe: tuple[int, float]) -> bool:
        return self.clock.now_s - probe[1] < LIMITS.probe_limit_s

    @rule(which=st.integers(0, 50), end=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def end(self, which: int, end: str) -> None:
        if not self.tickets:
            return
        ticket = self.tickets.pop(which % len(self.tickets))
        self.probes = [each for each in self.probes if each[0] != ticket]
        was_open = self.breaker.is_open
        getattr(self.breaker, end)(ticket)
        if was_open and not self.breaker.is_open:
            assert end == "succeeded"
            self.probes.clear()
        if not was_open and self.breaker.is_open:
            assert end == "failed"

    @invariant()
    def never_shut_for_ever(self) -> None:
        """Whatever was lost or forgotten, some call is let through before long."""
        assert self.breaker.retry_after_s() <= LIMITS.probe_limit_s


TestLife = Life.TestCase
