import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.budget import Budget, current_budget, spending
from libs.errors import BudgetExhaustedError

seconds = st.floats(0, 60, allow_nan=False)


@given(total=seconds, first=seconds, kept=seconds, within=seconds, spent=seconds)
def test_a_derived_budget_never_exceeds_its_parent(
    total: float, first: float, kept: float, within: float, spent: float
) -> None:
    now = 0.0
    parent = Budget.of(total, first, clock=lambda: now)
    for child in (parent.keeping(kept), parent.within(within)):
        now = spent
        assert 0 <= child.remaining_s() <= parent.remaining_s() <= total
        assert 0 <= child.patience_s() <= parent.patience_s()
        assert child.first_text_by_s <= child.end_by_s
        now = 0.0


def test_a_budget_cannot_grow() -> None:
    with pytest.raises(ValueError, match="only shrinks"):
        Budget.of(1.0).keeping(-0.1)


def test_a_step_that_cannot_finish_is_refused_before_it_starts() -> None:
    with pytest.raises(BudgetExhaustedError, match="10.0 ms left, 25.0 ms needed") as caught:
        Budget.of(0.010, clock=lambda: 0.0).require(0.025, "retrieval")
    assert caught.value.metadata["hop"] == "retrieval"


def test_the_current_budget_is_that_of_the_innermost_block() -> None:
    outer, inner = Budget.of(2.0), Budget.of(1.0)
    assert current_budget() is None
    with spending(outer):
        with spending(inner):
            assert current_budget() is inner
        assert current_budget() is outer
    assert current_budget() is None
