"""What learning costs a call; `-m prove -s` prints the figures."""

import time
import timeit
from collections.abc import Callable

import pytest

from libs.resilience.distribution import Distribution
from libs.resilience.grid import index
from libs.resilience.sketch import Sketch

pytestmark = pytest.mark.prove

SKETCH = Sketch(60.0, time.monotonic)
FAST, SLOW = Distribution.lognormal(0.04, 0.15), Distribution.lognormal(0.5, 1.5)

COSTS: dict[str, tuple[Callable[[], object], float]] = {
    "index": (lambda: index(0.034), 1.0),
    "add": (lambda: SKETCH.add(0.034), 1.0),
    "add_censored": (lambda: SKETCH.add_censored(0.034), 1.0),
    "cdf": (lambda: SLOW.cdf(0.6), 1.0),
    "quantile": (lambda: SLOW.quantile(0.95), 1.0),
    "then": (lambda: FAST.then(SLOW), 2_000.0),
    "distribution": (SKETCH.distribution, 1_000.0),
}


@pytest.mark.parametrize("name", COSTS)
def test_learning_costs_a_call_next_to_nothing(name: str) -> None:
    action, limit_us = COSTS[name]
    SKETCH.add(0.05)
    action()  # what is made on first use is made
    timer = timeit.Timer(action)
    number = max(1, timer.autorange()[0] // 4)
    best_us = min(timer.repeat(repeat=5, number=number)) / number * 1e6
    print(f"{name}: {best_us:.2f} us")
    assert best_us < limit_us
