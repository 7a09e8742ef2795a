from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from libs.resilience import Limiter, Pace
from libs.resilience.limiter import PROBE_AFTER_S

QUIET_S = 0.010


@dataclass
class Load:
    """Calls of one method on a limiter, one after another."""

    limiter: Limiter
    pace: Pace = field(default_factory=Pace)
    now_s: float = 0.0

    def call(self, took_s: float, found: int, *, cut: bool = False) -> None:
        self.now_s += 0.001
        self.limiter.learn(self.pace, took_s, found=found, now_s=self.now_s, cut=cut)

    def quiet(self, count: int = 20) -> None:
        for _ in range(count):
            self.call(QUIET_S, found=0)


def warmed(most: int = 100) -> Load:
    load = Load(Limiter(most))
    load.quiet()
    return load


def test_the_limit_stays_while_calls_are_as_fast_as_on_a_quiet_server() -> None:
    load = warmed()
    for _ in range(1000):
        load.call(QUIET_S * 1.4, found=99)
    assert load.limiter.limit == 100


def test_the_limit_falls_while_calls_take_longer_and_rises_again() -> None:
    load = warmed()
    for _ in range(200):
        load.call(QUIET_S * 4, found=load.limiter.limit - 1)
    assert load.limiter.limit < 15
    for _ in range(400):
        load.call(QUIET_S, found=load.limiter.limit - 1)
    assert load.limiter.limit == 100


def test_a_server_that_is_not_half_full_leaves_its_limit_alone() -> None:
    load = warmed()
    for took_s in (QUIET_S * 2.5, QUIET_S / 2):
        for _ in range(200):
            load.call(took_s, found=40)
        assert load.limiter.limit == 100


def test_a_limit_that_is_never_reached_shrinks_once_calls_take_many_times_as_long() -> None:
    load = warmed()
    for _ in range(20):
        load.call(QUIET_S * 50, found=30)
    assert load.limiter.limit <= 62


def test_a_few_slow_calls_never_shrink_it_below_what_a_burst_needs() -> None:
    load = warmed()
    for _ in range(200):
        load.call(QUIET_S * 50, found=1)
    assert load.limiter.limit == 16


def test_calls_that_came_in_under_a_larger_limit_do_not_lower_this_one() -> None:
    load = warmed()
    while load.limiter.limit > 60:
        load.call(QUIET_S * 4, found=load.limiter.limit - 1)
    reached = load.limiter.limit
    for _ in range(100):
        load.call(QUIET_S * 10, found=99)
    assert load.limiter.limit == reached


def test_a_long_overload_is_not_taken_for_the_normal_state() -> None:
    load = warmed()
    for _ in range(5000):
        load.call(QUIET_S * 4, found=load.limiter.limit - 1)
    assert load.limiter.limit < 15
    assert load.pace.long_s < QUIET_S * 1.01


def test_a_service_that_became_slower_for_good_gets_its_limit_back() -> None:
    load = warmed()
    slow_s = QUIET_S * 4  # whatever is in flight
    fell_to, asked_for = 100, 50
    while load.now_s < 3 * PROBE_AFTER_S:
        # As much as it may, if that many want to come in.
        while load.limiter.in_flight < asked_for and load.limiter.acquire():
            pass
        load.call(slow_s, found=load.limiter.in_flight - 1)
        load.limiter.release(1)
        fell_to = min(fell_to, load.limiter.limit)
    assert fell_to < 15
    assert load.limiter.limit > asked_for


def test_a_call_that_was_cut_is_never_taken_for_a_fast_one() -> None:
    load = warmed()
    for _ in range(200):
        load.call(QUIET_S / 100, found=0, cut=True)
    assert load.pace.short_s == load.pace.long_s == QUIET_S


def test_a_call_that_was_cut_late_took_at_least_that_long() -> None:
    load = warmed()
    for _ in range(50):
        load.call(QUIET_S * 10, found=load.limiter.limit - 1, cut=True)
    assert load.limiter.limit < 50
    assert load.pace.long_s < QUIET_S * 1.01


def test_methods_are_compared_with_themselves() -> None:
    fast, slow = warmed(), Pace()
    for _ in range(20):
        fast.limiter.learn(slow, 2.0, found=0, now_s=1.0)
    for _ in range(200):
        fast.limiter.learn(slow, 2.0, found=99, now_s=2.0)
    assert fast.limiter.limit == 100


def test_background_leaves_room_for_those_who_wait() -> None:
    limiter = Limiter(10)
    assert sum(limiter.acquire(1, share=0.6) for _ in range(20)) == 6
    assert sum(limiter.acquire() for _ in range(20)) == 4


def test_an_empty_server_takes_any_call() -> None:
    limiter = Limiter(1)
    assert limiter.acquire(1, share=0.1) == 1
    limiter.release(1)
    assert limiter.acquire(50) == 1
    assert not limiter.acquire()


events = st.lists(
    st.one_of(
        st.tuples(st.just("in"), st.integers(1, 80), st.floats(0.1, 1)),
        st.tuples(st.just("out"), st.floats(0, 10), st.booleans()),
    ),
    max_size=300,
)


@given(most=st.integers(1, 64), happens=events)
def test_the_limit_keeps_its_bounds_and_nothing_is_let_in_above_it(
    most: int, happens: list[tuple[str, float, float]]
) -> None:
    limiter, pace, held = Limiter(most), Pace(), []
    for number, (what, first, second) in enumerate(happens):
        if what == "in":
            found = limiter.in_flight
            cost = limiter.acquire(int(first), second)
            if cost:
                held.append((cost, found))
                assert limiter.in_flight <= limiter.limit
        elif held:
            cost, found = held.pop(0)
            limiter.learn(pace, first, found=found, now_s=float(number), cut=bool(second))
            limiter.release(cost)
        assert 1 <= limiter.limit <= most
        assert limiter.in_flight == sum(cost for cost, _ in held)
