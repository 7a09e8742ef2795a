"""A deadline made of what calls took, when calls come to take twice as long.

The deadline is the 95th percentile of the last window of calls, so at best one call in twenty
is cut. After ten windows latency is multiplied by 2.2.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from libs.resilience.sketch import Sketch

WINDOW = 2_000
SHIFT, WINDOWS = 10, 30
QUANTILE = 0.95
FIRST_DEADLINE_S = 0.4

Times = NDArray[np.float64]
Estimate = Callable[[Times, float], float]


def latencies(draw: np.random.Generator, scale: float) -> Times:
    """One window: a lognormal, and one call in 33 six times as slow."""
    took = draw.lognormal(math.log(0.040), 0.5, WINDOW)
    took[draw.random(WINDOW) < 0.03] *= 6
    return took * scale


def timeout_rates(estimate: Estimate, seed: int) -> list[float]:
    """Return the share of calls that the deadline cut, window by window."""
    draw = np.random.default_rng(seed)
    deadline_s, rates = FIRST_DEADLINE_S, []
    for window in range(WINDOWS):
        took = latencies(draw, 1.0 if window < SHIFT else 2.2)
        rates.append(float((took > deadline_s).mean()))
        deadline_s = estimate(took, deadline_s)
    return rates


def dropping(took: Times, deadline_s: float) -> float:
    return float(np.quantile(took[took <= deadline_s], QUANTILE))


def as_elapsed(took: Times, deadline_s: float) -> float:
    return float(np.quantile(np.minimum(took, deadline_s), QUANTILE))


def knowing(took: Times, deadline_s: float) -> float:
    sketch = Sketch(None, lambda: 0.0)
    for seconds in took.tolist():
        if seconds > deadline_s:
            sketch.add_censored(deadline_s)
        else:
            sketch.add(seconds)
    return sketch.distribution().quantile(QUANTILE)


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_a_deadline_that_knows_what_was_cut_follows_latency(seed: int) -> None:
    rates = timeout_rates(knowing, seed)
    assert rates[SHIFT] > 0.2
    assert np.mean(rates[SHIFT + 1 :]) < 0.055
    assert max(rates[SHIFT + 1 :]) < 0.075  # a window's own chance is about half a percent


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_one_that_forgets_what_was_cut_runs_away(seed: int) -> None:
    assert np.mean(timeout_rates(dropping, seed)[-10:]) > 0.5


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_one_that_takes_a_cut_for_an_end_stays_too_short(seed: int) -> None:
    assert np.mean(timeout_rates(as_elapsed, seed)[-10:]) > 0.2
