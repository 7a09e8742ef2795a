from hypothesis import given
from hypothesis import strategies as st

from libs.resilience import Codel

delays = st.floats(0, 10, allow_nan=False)
steps = st.floats(0, 0.5, allow_nan=False)


def overloaded() -> Codel:
    """A queue that has stood for two intervals; the next one begins at 0.2 s."""
    codel = Codel(target_s=0.005, interval_s=0.1)
    for number in range(20):
        codel.sheds(0.050, number / 100)
    codel.sheds(0.050, 0.2)
    return codel


@given(calls=st.lists(st.tuples(st.floats(0, 0.005), steps, st.booleans())))
def test_nothing_under_the_target_is_ever_shed(calls: list[tuple[float, float, bool]]) -> None:
    codel, now_s = overloaded(), 0.2
    for delay_s, step_s, background in calls:
        now_s += step_s
        assert not codel.sheds(delay_s, now_s, background=background)


@given(calls=st.lists(st.tuples(delays, steps)))
def test_nothing_is_shed_while_one_call_an_interval_gets_through_quickly(
    calls: list[tuple[float, float]],
) -> None:
    codel, now_s = Codel(target_s=0.005, interval_s=0.1), 0.0
    for delay_s, step_s in calls:
        now_s += step_s
        assert not codel.sheds(delay_s, now_s)
        assert not codel.sheds(0.0, now_s)


def test_a_burst_is_let_through() -> None:
    codel = Codel(target_s=0.005, interval_s=0.1)
    assert not any(codel.sheds(number / 100, number / 1000) for number in range(99))


def test_a_standing_queue_sheds_what_waited_twice_the_target() -> None:
    codel = overloaded()
    assert codel.sheds(0.011, 0.21)
    assert not codel.sheds(0.009, 0.22)


def test_background_is_shed_first() -> None:
    codel = overloaded()
    assert codel.sheds(0.009, 0.21, background=True)
    assert not codel.sheds(0.009, 0.21)


def test_it_ends_when_a_call_of_an_interval_got_through_quickly() -> None:
    codel = overloaded()
    assert not codel.sheds(0.001, 0.25)
    assert not codel.sheds(0.050, 0.31)
    assert not codel.sheds(0.050, 0.32)


def test_a_queue_before_a_long_silence_is_forgotten() -> None:
    codel = overloaded()
    codel.sheds(0.050, 60.0)
    assert not codel.sheds(0.050, 60.01)


def test_one_call_alone_is_no_queue() -> None:
    codel = Codel(target_s=0.005, interval_s=0.1)
    assert not any(codel.sheds(1.0, number * 0.15) for number in range(20))
