import math
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.resilience.distribution import Distribution
from libs.resilience.grid import BUCKETS, EDGES, GROWTH, NEVER, index
from libs.resilience.sketch import DamagedSketchError, Sketch
from tests.unit.resilience.strategies import representatives

with warnings.catch_warnings():
    # Theirs to mend; ours must stay errors.
    warnings.simplefilter("ignore")
    from lifelines import KaplanMeierFitter

calls = st.lists(st.tuples(representatives, st.booleans()), min_size=1, max_size=60)
PRIOR = Distribution.lognormal(0.05, 0.15)


@dataclass
class Clock:
    """Seconds that go on when a test says so."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def count(sketch: Sketch, seconds: float, *, ended: bool) -> None:
    (sketch.add if ended else sketch.add_censored)(seconds)


def sketch_of(seen: list[tuple[float, bool]]) -> Sketch:
    sketch = Sketch(None, Clock())
    for seconds, ended in seen:
        count(sketch, seconds, ended=ended)
    return sketch


def reference(seen: list[tuple[float, bool]]) -> KaplanMeierFitter:
    seconds, ended = zip(*seen, strict=True)
    return KaplanMeierFitter().fit(seconds, ended)


@given(seen=calls)
def test_the_estimate_is_that_of_kaplan_and_meier(seen: list[tuple[float, bool]]) -> None:
    found = sketch_of(seen).distribution()
    last = index(max(seconds for seconds, _ in seen))
    theirs = reference(seen).survival_function_at_times(EDGES[: last + 1]).to_numpy()
    ours = 1 - np.cumsum(found.masses[: last + 1])
    assert np.allclose(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_values_between_the_representatives_cost_no_more_than_a_bucket(seed: int) -> None:
    draw = np.random.default_rng(seed)
    took, given_s = draw.lognormal(-2, 0.7, 2_000), draw.lognormal(-1, 0.7, 2_000)
    seen = [(float(min(each)), each[0] <= each[1]) for each in zip(took, given_s, strict=True)]
    theirs, found = reference(seen), sketch_of(seen).distribution()
    for q in (0.1, 0.5, 0.9, 0.95):
        around = [found.quantile(q) / GROWTH, found.quantile(q) * GROWTH]
        earlier, later = 1 - theirs.survival_function_at_times(around).to_numpy()
        assert earlier <= q <= later
        assert found.quantile(q) == pytest.approx(np.quantile(took, q), rel=0.15)


def test_in_one_bucket_ends_come_before_cuts() -> None:
    found = sketch_of([(0.1, True), (0.1, False)]).distribution()
    assert found.masses[index(0.1)] == pytest.approx(0.5)


def test_what_was_cut_is_not_thought_to_have_ended() -> None:
    seen = [(0.05, True)] * 70 + [(0.1, False)] * 30
    assert sketch_of(seen).distribution().cdf(0.1) == pytest.approx(0.7)
    assert sketch_of([(seconds, True) for seconds, _ in seen]).distribution().cdf(0.11) == 1


def test_beyond_what_was_seen_the_last_doubling_of_time_goes_on() -> None:
    # A Pareto tail of weight 2 from 50 ms on: of what is left a quarter is left at twice the time.
    took = 0.05 * (1 - np.random.default_rng(4).random(20_000)) ** -0.5
    found = sketch_of([(float(min(each, 0.2)), each <= 0.2) for each in took]).distribution()
    assert 1 - found.cdf(0.2) == pytest.approx(1 / 16, abs=0.01)
    assert 1 - found.cdf(0.4) == pytest.approx(1 / 64, rel=0.15)
    assert 1 - found.cdf(0.8) == pytest.approx(1 / 256, rel=0.25)


def test_one_call_that_was_cut_leaves_the_end_open_but_in_sight() -> None:
    found = sketch_of([(0.1, False)]).distribution()
    assert found.cdf(0.1) == 0
    # It lasted for one doubling, and of one unknown call half is over in that time.
    assert found.quantile(0.5) == pytest.approx(0.4, rel=0.05)


def test_where_many_wait_and_none_ends_the_end_is_not_in_sight() -> None:
    found = sketch_of([(0.1, False)] * 2_000).distribution()
    assert found.never_share() > 0.95
    assert found.quantile(0.5) == math.inf


def test_nothing_known_is_never_and_the_prior_alone() -> None:
    empty = Sketch(60.0, Clock())
    assert empty.distribution().never_share() == 1
    for q in (0.05, 0.5, 0.95):
        expected_s = empty.blended(PRIOR, 10).quantile(q)
        assert expected_s == pytest.approx(PRIOR.quantile(q), rel=0.06)


def test_a_prior_that_is_far_too_short_is_outvoted_by_some_tens_of_calls() -> None:
    shares = [sketch_of([(1.0, True)] * n).blended(PRIOR, 10).cdf(0.9) for n in (1, 30, 300)]
    assert shares[0] > 0.9
    assert shares[1] < 0.8
    assert shares[2] < 0.25


def test_above_what_was_let_go_on_an_end_is_expected() -> None:
    sketch = sketch_of([(0.05, True)] * 190 + [(0.2, False)] * 10)
    assert sketch.distribution().quantile(0.99) > 1.0
    assert sketch.blended(PRIOR, 10).quantile(0.99) < 0.5


def test_a_hop_that_is_not_called_is_expected_as_before() -> None:
    clock = Clock()
    sketch = Sketch(60.0, clock)
    for _ in range(30):
        sketch.add(1.0)
    clock.now_s = 3_600.0
    assert sketch.blended(PRIOR, 10).cdf(0.9) > 0.999
    assert sketch.distribution().quantile(0.5) == pytest.approx(1.0, rel=0.05)


Aged = list[tuple[float, bool, float]]
aged = st.lists(
    st.tuples(representatives, st.booleans(), st.floats(0, 400)), min_size=1, max_size=40
)


@given(seen=aged)
def test_counts_fade_by_half_in_each_half_life(seen: Aged) -> None:
    clock = Clock()
    sketch = Sketch(1.5, clock)
    times = []
    for seconds, ended, wait_s in seen:
        clock.now_s += wait_s
        times.append(clock.now_s)
        count(sketch, seconds, ended=ended)
    weights = [0.5 ** ((clock.now_s - at) / 1.5) for at in times]
    cut = [weight for weight, (_, ended, _) in zip(weights, seen, strict=True) if not ended]
    assert sketch.count == pytest.approx(sum(weights))
    assert sketch.censored_count == pytest.approx(sum(cut))
    assert np.allclose(sketch.distribution().masses.sum(), 1)


def test_the_estimate_weighs_calls_by_their_age() -> None:
    clock = Clock()
    sketch = Sketch(10.0, clock)
    for _ in range(40):
        sketch.add(0.1)
    clock.now_s = 10.0
    for _ in range(10):
        sketch.add(1.0)
    assert sketch.distribution().cdf(0.5) == pytest.approx(2 / 3)


def test_faded_calls_say_nothing_of_what_is_cut_today() -> None:
    clock = Clock()
    sketch = Sketch(10.0, clock)
    sketch.add(2.0)
    clock.now_s = 300.0
    for _ in range(100):
        sketch.add_censored(0.1)
    # Not "all of them end at 2 s", which is what the one faded end would say alone.
    assert sketch.distribution().cdf(2.1) < 0.1


@given(first=aged, second=aged)
def test_a_merged_sketch_has_seen_both_streams(first: Aged, second: Aged) -> None:
    clock = Clock()
    one, other, both = (Sketch(300.0, clock) for _ in range(3))
    for part, seen in ((one, first), (other, second)):
        for seconds, ended, wait_s in seen:
            clock.now_s += wait_s
            count(part, seconds, ended=ended)
            count(both, seconds, ended=ended)
    one.merge(other)
    assert one.count == pytest.approx(both.count)
    assert one.censored_count == pytest.approx(both.censored_count)
    assert np.allclose(one.distribution().masses, both.distribution().masses)


def test_a_sketch_survives_a_restart_as_it_was() -> None:
    clock = Clock()
    sketch = Sketch(60.0, clock)
    for seconds in (0.1, 0.2, 0.3):
        sketch.add(seconds)
    sketch.add_censored(0.25)
    clock.now_s = 30.0
    found = Sketch.from_bytes(sketch.to_bytes(), 60.0, Clock(1e6))
    assert found.count == pytest.approx(sketch.count)
    assert np.allclose(found.distribution().masses, sketch.distribution().masses)


@given(at=st.integers(0, 4_663), flip=st.integers(1, 255))
def test_a_damaged_sketch_is_noticed(at: int, flip: int) -> None:
    data = bytearray(sketch_of([(0.1, True)]).to_bytes())
    data[at % len(data)] ^= flip
    with pytest.raises(DamagedSketchError):
        Sketch.from_bytes(bytes(data), None, Clock())


def test_half_a_sketch_is_noticed() -> None:
    data = sketch_of([(0.1, True)]).to_bytes()
    with pytest.raises(DamagedSketchError, match="bytes long"):
        Sketch.from_bytes(data[:-1], None, Clock())


def test_a_sketch_that_was_idle_for_years_knows_nothing() -> None:
    clock = Clock()
    sketch = Sketch(1.0, clock)
    sketch.add(0.1)
    clock.now_s = 1e8
    assert sketch.count == 0
    assert Sketch.from_bytes(sketch.to_bytes(), 1.0, clock).distribution().never_share() == 1
    sketch.add(0.2)
    assert sketch.count == 1


def test_a_half_life_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="half-life"):
        Sketch(0.0, Clock())


def test_what_takes_longer_than_any_policy_waits_is_never() -> None:
    found = sketch_of([(200.0, True), (0.1, True), (130.0, False)]).distribution()
    assert found.masses[NEVER] == pytest.approx(2 / 3)
    assert len(found.masses) == BUCKETS
