import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.planning.calibration import Calibration
from services.orchestrator.planning.ladder import price


@given(available=st.floats(0, 20), more=st.floats(0, 20))
def test_a_fuller_purse_never_makes_a_call_dearer(available: float, more: float) -> None:
    assert price(available, 20) >= price(available + more, 20)


def test_a_full_purse_has_the_usual_price_and_an_empty_one_none() -> None:
    assert price(20, 20) == 1
    assert price(0.9, 20) == math.inf


def test_calibration_pools_by_tenths_and_finds_the_worst() -> None:
    calibration = Calibration()
    for number in range(1000):
        calibration.add(0.95, kept=number % 10 != 0)
        calibration.add(0.15, kept=number % 2 == 0)
    (low_count, low_said, low_was), (_, said, was) = calibration.deciles()
    assert (low_count, low_said, low_was) == (1000, pytest.approx(0.15), 0.5)
    assert (said, was) == (pytest.approx(0.95), 0.9)
    assert calibration.worst_gap() == pytest.approx(0.35)
    assert calibration.worst_gap(2000) == 0
    assert calibration.brier_score == pytest.approx((0.0925 + 0.3725) / 2, abs=0.002)
