import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.resilience.distribution import Distribution
from libs.resilience.grid import BUCKETS, GROWTH, NEVER
from tests.unit.resilience.strategies import distributions, shares, times

FAST = Distribution.lognormal(0.05, 0.15)
SLOW = Distribution.lognormal(0.5, 1.5)
LEVELS = [0.1, 0.5, 0.9, 0.99]


def same(one: Distribution, other: Distribution) -> bool:
    return bool(np.allclose(one.masses, other.masses, rtol=0, atol=1e-12))


@given(one=distributions, at=times, later=times)
def test_a_probability_never_falls_with_time(one: Distribution, at: float, later: float) -> None:
    least, most = sorted((at, later))
    assert 0 <= one.cdf(least) <= one.cdf(most) <= one.cdf(math.inf) <= 1
    assert one.cdf(math.inf) == 1 - one.never_share()
    assert one.cdf(-1.0) == 0


@given(one=distributions, q=shares)
def test_a_quantile_is_the_inverse_of_the_probability(one: Distribution, q: float) -> None:
    seconds = one.quantile(q)
    if math.isinf(seconds):
        assert q > 1 - one.never_share() - 1e-12
    elif seconds:
        assert one.cdf(seconds) == pytest.approx(q, abs=1e-9)
    else:
        assert q <= one.cdf(0.0)


@given(seconds=st.floats(0, 115))
def test_a_point_has_the_mean_it_was_given(seconds: float) -> None:
    assert Distribution.point(seconds).mean_s() == pytest.approx(seconds)


def test_a_lognormal_passes_through_its_median_and_99th_percentile() -> None:
    assert SLOW.quantile(0.5) == pytest.approx(0.5, rel=1e-3)
    assert SLOW.quantile(0.99) == pytest.approx(1.5, rel=1e-3)
    assert SLOW.mean_s() == pytest.approx(
        0.5 * math.exp((math.log(3) / 2.3263479) ** 2 / 2), rel=1e-3
    )
    assert Distribution.lognormal(0.2, 0.2).mean_s() == pytest.approx(0.2)


@pytest.mark.parametrize("bad", [(0.0, 1.0), (-1.0, 1.0), (0.2, 0.1), (0.1, math.inf)])
def test_a_nonsensical_lognormal_is_refused(bad: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no lognormal"):
        Distribution.lognormal(*bad)


def test_quantiles_of_samples_are_within_a_bucket() -> None:
    values = np.random.default_rng(3).lognormal(-2, 0.8, 5_000)
    seen = Distribution.of_samples(values)
    for q in LEVELS:
        assert seen.quantile(q) == pytest.approx(np.quantile(values, q), rel=0.05)
    with pytest.raises(ValueError, match="weights"):
        Distribution.of_samples([])


def test_a_chain_of_steps_takes_what_simulation_says() -> None:
    draw = np.random.default_rng(5)
    parts = [(0.02, 0.5), (0.05, 0.4), (0.18, 0.6), (0.3, 0.3)]
    samples = [
        median * np.exp(deviation * draw.standard_normal(200_000)) for median, deviation in parts
    ]
    chain = Distribution.point(0.0)
    for values in samples:
        chain = chain.then(Distribution.of_samples(values))
    total = np.sum(samples, axis=0)
    assert chain.mean_s() == pytest.approx(total.mean(), rel=0.005)
    for q in LEVELS:
        assert chain.quantile(q) == pytest.approx(np.quantile(total, q), rel=0.015)


@given(one=distributions, other=distributions, third=distributions)
def test_order_does_not_matter_in_a_sum(
    one: Distribution, other: Distribution, third: Distribution
) -> None:
    assert same(one.then(other), other.then(one))
    left, right = one.then(other).then(third), one.then(other.then(third))
    assert left.never_share() >= one.never_share() - 1e-12
    if not right.masses[NEVER - 30 :].any():
        assert left.mean_s() == pytest.approx(right.mean_s())


@given(one=distributions)
def test_a_step_that_takes_no_time_changes_nothing(one: Distribution) -> None:
    assert same(one.then(Distribution.point(0.0)), one)


@given(one=distributions, other=distributions)
def test_means_add_up(one: Distribution, other: Distribution) -> None:
    both = one.then(other)
    if not both.masses[NEVER - 1 :].any():
        assert both.mean_s() == pytest.approx(one.mean_s() + other.mean_s(), rel=1e-9)


@given(one=distributions)
def test_what_never_ends_is_not_followed_by_an_end(one: Distribution) -> None:
    assert same(one.then(Distribution.never()), Distribution.never())


@given(one=distributions, limit=st.floats(0, 110))
def test_what_is_capped_never_takes_longer(one: Distribution, limit: float) -> None:
    capped = one.capped(limit)
    assert capped.mean_s() <= min(limit, one.mean_s()) + 1e-9
    assert capped.never_share() == 0
    # A point lies between two representatives.
    assert capped.quantile(1.0) <= max(limit * GROWTH**1.5, 2e-4)


def test_what_is_capped_has_the_mean_of_simulation() -> None:
    values = np.random.default_rng(8).lognormal(-2, 0.8, 100_000)
    capped = Distribution.of_samples(values).capped(0.2)
    assert capped.mean_s() == pytest.approx(np.minimum(values, 0.2).mean(), rel=0.005)


def test_what_has_not_ended_yet_takes_longer() -> None:
    values = np.random.default_rng(9).lognormal(-2, 0.8, 200_000)
    left = values[values > 0.25]
    given_over = Distribution.of_samples(values).given_over(0.25)
    assert given_over.mean_s() == pytest.approx(left.mean(), rel=0.01)
    for q in LEVELS:
        assert given_over.quantile(q) == pytest.approx(np.quantile(left, q), rel=0.015)


@given(one=distributions, elapsed=times)
def test_waiting_leaves_only_what_is_still_ahead(one: Distribution, elapsed: float) -> None:
    left = one.given_over(elapsed)
    if elapsed > 1e-4:
        assert left.cdf(elapsed / GROWTH) == 0
    assert left.masses.sum() == pytest.approx(1)


def test_what_should_have_ended_long_ago_never_does() -> None:
    assert same(Distribution.point(0.1).given_over(1.0), Distribution.never())
    assert same(FAST.given_over(0.0), FAST)


@given(one=distributions, other=distributions, at=times)
def test_the_sooner_and_the_later_of_two(one: Distribution, other: Distribution, at: float) -> None:
    sooner, later = one.sooner(other), one.later(other)
    assert sooner.cdf(at) >= max(one.cdf(at), other.cdf(at)) - 1e-9
    assert later.cdf(at) <= min(one.cdf(at), other.cdf(at)) + 1e-9
    assert np.allclose(sooner.masses + later.masses, one.masses + other.masses)


def test_two_in_parallel_take_what_simulation_says() -> None:
    draw = np.random.default_rng(6)
    one, other = draw.lognormal(-2, 0.8, 200_000), draw.lognormal(-1.8, 0.3, 200_000)
    first, second = Distribution.of_samples(one), Distribution.of_samples(other)
    for found, values in (
        (first.sooner(second), np.minimum(one, other)),
        (first.later(second), np.maximum(one, other)),
    ):
        assert found.mean_s() == pytest.approx(values.mean(), rel=0.005)
        assert found.quantile(0.9) == pytest.approx(np.quantile(values, 0.9), rel=0.015)


def test_a_shift_and_a_scale_move_the_mean() -> None:
    assert FAST.shifted(0.3).mean_s() == pytest.approx(FAST.mean_s() + 0.3)
    assert FAST.scaled(2.2).mean_s() == pytest.approx(FAST.mean_s() * 2.2)
    assert FAST.given_over(0.1).shifted(-0.1).mean_s() == pytest.approx(
        FAST.given_over(0.1).mean_s() - 0.1, abs=1e-3
    )
    assert same(FAST.scaled(0.0), Distribution.point(0.0))
    assert FAST.scaled(1e5).never_share() == pytest.approx(1)
    with pytest.raises(ValueError, match="times as long"):
        FAST.scaled(-1.0)


@given(one=distributions, other=distributions, share=shares, at=times)
def test_a_mixture_is_between_its_parts(
    one: Distribution, other: Distribution, share: float, at: float
) -> None:
    mixed = one.mixed(other, share).cdf(at)
    assert mixed == pytest.approx((1 - share) * one.cdf(at) + share * other.cdf(at), abs=1e-12)


def test_what_never_ends_stays_as_likely() -> None:
    one = FAST.mixed(Distribution.never(), 0.25)
    for other in (one.then(FAST), one.shifted(1.0), one.scaled(3.0)):
        assert other.never_share() == pytest.approx(0.25)


def test_no_one_can_change_a_distribution() -> None:
    with pytest.raises(ValueError, match="read-only"):
        FAST.masses[0] = 1.0
    with pytest.raises(ValueError, match="weights"):
        Distribution.of_masses(np.zeros(BUCKETS))
