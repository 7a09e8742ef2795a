import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.resilience import Allowance


@given(
    share=st.floats(0, 1),
    burst=st.floats(0, 20),
    steps=st.lists(st.booleans(), max_size=300),
)
def test_extra_calls_never_exceed_burst_and_share(
    share: float, burst: float, steps: list[bool]
) -> None:
    allowance = Allowance(share, burst)
    calls = extra = 0
    for is_call in steps:
        if is_call:
            allowance.deposit()
            calls += 1
        else:
            extra += allowance.withdraw()
        assert extra <= burst + share * calls + 1e-9
        assert 0 <= allowance.available <= burst


def test_a_backend_that_always_fails_is_asked_one_call_in_twenty_more() -> None:
    allowance = Allowance(0.05, burst=10)
    extra = 0
    for _ in range(1_000):
        allowance.deposit()
        extra += allowance.withdraw()
    assert extra == pytest.approx(50, abs=1)


def test_the_first_call_may_be_sent_again_and_the_second_may_not() -> None:
    allowance = Allowance(0.05, burst=10)
    assert [allowance.withdraw(), allowance.withdraw()] == [True, False]


def test_without_a_burst_nothing_is_sent_again() -> None:
    allowance = Allowance(1.0, burst=0)
    allowance.deposit()
    assert not allowance.withdraw()


@pytest.mark.parametrize("bad", [(-0.1, 1.0), (1.1, 1.0), (0.1, -1.0), (float("nan"), 1.0)])
def test_a_nonsensical_allowance_is_refused(bad: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no allowance"):
        Allowance(*bad)
