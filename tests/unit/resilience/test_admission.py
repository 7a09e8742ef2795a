from typing import Any

import pytest

from libs.errors import OverloadedError
from libs.resilience import Admission, Codel, Gate, Limiter, background, is_background

METHOD = "hasten.test.v1.TestService/DoIt"
WATCH = "hasten.test.v1.TestService/WatchIt"


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def admission(clock: Clock, most: int = 10, **rest: Any) -> Admission:
    return Admission(Limiter(most), clock=clock, **rest)


def serve(gate: Gate, clock: Clock, took_s: float, count: int = 1) -> None:
    """Serve calls one after another, each with its first response after `took_s`."""
    for _ in range(count):
        ticket = gate.admit(None, queue_s=0.0, remaining_s=None)
        clock.now_s += took_s
        ticket.answered()
        ticket.leave()


def refused(gate: Gate, remaining_s: float | None = None, queue_s: float = 0.0) -> OverloadedError:
    with pytest.raises(OverloadedError) as caught:
        gate.admit(None, queue_s=queue_s, remaining_s=remaining_s)
    assert caught.value.retry_after_s is not None
    return caught.value


def test_a_call_that_cannot_be_answered_in_its_time_is_refused_with_the_figures(
    clock: Clock,
) -> None:
    gate = admission(clock).gate(METHOD)
    serve(gate, clock, 0.050, count=30)
    metadata = refused(gate, remaining_s=0.020).metadata
    assert metadata == {"cause": "time", "hop": METHOD, "needed_ms": "50.0", "had_ms": "20.0"}
    gate.admit(None, queue_s=0.0, remaining_s=0.051).leave()


def test_a_call_is_refused_only_if_not_even_the_fastest_would_have_made_it(clock: Clock) -> None:
    gate = admission(clock).gate(METHOD)
    serve(gate, clock, 0.002)
    serve(gate, clock, 0.050, count=30)
    gate.admit(None, queue_s=0.0, remaining_s=0.003).leave()


def test_nobody_is_refused_for_time_before_enough_is_known(clock: Clock) -> None:
    gate = admission(clock).gate(METHOD)
    serve(gate, clock, 0.050, count=19)
    gate.admit(None, queue_s=0.0, remaining_s=0.001).leave()


def test_a_server_that_refuses_everybody_looks_again(clock: Clock) -> None:
    gate = admission(clock).gate(METHOD)
    serve(gate, clock, 0.050, count=30)
    refused(gate, remaining_s=0.001)
    clock.now_s += 11.0
    gate.admit(None, queue_s=0.0, remaining_s=0.001).leave()


def test_only_the_first_response_of_a_stream_tells_of_speed(clock: Clock) -> None:
    gate = admission(clock).gate(METHOD)
    for _ in range(30):
        ticket = gate.admit(None, queue_s=0.0, remaining_s=None)
        clock.now_s += 0.010
        ticket.answered()
        clock.now_s += 0.100
        ticket.answered()
        ticket.leave(cut=True)
    assert gate.pace.long_s == pytest.approx(0.010)
    assert gate.fastest.floor_s(clock.now_s) == pytest.approx(0.010)


def test_what_failed_or_was_cut_early_says_nothing_about_speed(clock: Clock) -> None:
    gate = admission(clock).gate(METHOD)
    serve(gate, clock, 0.050, count=30)
    for cut in (True, False):
        for _ in range(30):
            gate.admit(None, queue_s=0.0, remaining_s=None).leave(cut=cut)
    assert gate.pace.short_s == pytest.approx(0.050)
    assert gate.fastest.floor_s(clock.now_s) == pytest.approx(0.050)


def test_watchers_take_no_room_and_have_a_ceiling_of_their_own(clock: Clock) -> None:
    door = admission(clock, most=2, watches=[WATCH])
    watching, working = door.gate(WATCH), door.gate(METHOD)
    tickets = [watching.admit(None, queue_s=9.0, remaining_s=0.0) for _ in range(2)]
    assert refused(watching).metadata["cause"] == "limit"
    assert door.load() == 0.0
    working.admit(None, queue_s=0.0, remaining_s=None)
    for ticket in tickets:
        ticket.leave()
    watching.admit(None, queue_s=0.0, remaining_s=None)


def test_a_call_that_costs_more_leaves_less_room(clock: Clock) -> None:
    gate = admission(clock, most=10, costs={METHOD: lambda units: units}).gate(METHOD)
    gate.admit(7, queue_s=0.0, remaining_s=None)
    with pytest.raises(OverloadedError, match="7 in flight, at most 10"):
        gate.admit(4, queue_s=0.0, remaining_s=None)
    gate.admit(3, queue_s=0.0, remaining_s=None)


def is_shed(clock: Clock, *, pause_s: float, held: bool) -> bool:
    """Have calls come that all waited for 50 ms; return whether any is refused."""
    gate = admission(clock, codel=Codel(target_s=0.005, interval_s=0.1)).gate(METHOD)
    if held:
        gate.admit(None, queue_s=0.0, remaining_s=None)
    try:
        for _ in range(50):
            gate.admit(None, queue_s=0.050, remaining_s=None).leave()
            clock.now_s += pause_s
    except OverloadedError as error:
        return error.metadata == {"cause": "queue", "waited_ms": "50.0"}
    return False


def test_a_standing_queue_is_shed(clock: Clock) -> None:
    assert is_shed(clock, pause_s=0.010, held=False)
    assert is_shed(clock, pause_s=0.060, held=True)


def test_a_call_that_was_sent_to_an_idle_server_has_not_queued_there(clock: Clock) -> None:
    assert not is_shed(clock, pause_s=0.060, held=False)


def queued(clock: Clock) -> Gate:
    """Return a gate behind which calls have been waiting for longer than is good."""
    gate = admission(clock, 100, codel=Codel()).gate(METHOD)
    for _ in range(30):
        clock.now_s += 0.010
        gate.admit(None, queue_s=0.009, remaining_s=20.0)
    return gate


def test_who_has_much_time_is_not_shed_for_a_little_of_it(clock: Clock) -> None:
    gate = queued(clock)
    assert refused(gate, remaining_s=0.5, queue_s=0.030).metadata["cause"] == "queue"
    gate.admit(None, queue_s=0.030, remaining_s=20.0)


def test_background_work_has_no_such_grace(clock: Clock) -> None:
    gate = queued(clock)
    gate.admit(None, queue_s=0.030, remaining_s=20.0)
    with pytest.raises(OverloadedError):
        gate.admit(None, queue_s=0.030, remaining_s=20.0, background=True)


def test_work_is_background_inside_and_not_behind() -> None:
    with background():
        assert is_background()
    assert not is_background()
