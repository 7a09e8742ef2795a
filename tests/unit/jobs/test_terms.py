from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import (
    BudgetExhaustedError,
    CollectionNotFoundError,
    InternalError,
    InvalidFieldError,
    MeshError,
    ModelInterruptedError,
    OverloadedError,
    UnreachableError,
)
from services.jobs.worker.terms import Terms

TERMS = Terms(attempt_count=5, retry_first_s=1.0, retry_most_s=4.0, limits_s={"answer": 60.0})


@pytest.mark.parametrize(
    "error",
    [
        UnreachableError("gone"),
        OverloadedError("full"),
        BudgetExhaustedError("late"),
        ModelInterruptedError("broke off"),
    ],
)
def test_what_may_pass_is_tried_again(error: MeshError) -> None:
    assert TERMS.wait_s(error, 1, lambda: 0.5) == 0.5


@pytest.mark.parametrize(
    "error",
    [InvalidFieldError("a", "b"), CollectionNotFoundError("none"), InternalError("a bug")],
)
def test_what_would_fail_alike_is_not_tried_again(error: MeshError) -> None:
    assert TERMS.wait_s(error, 1, lambda: 0.5) is None


def test_waits_double_up_to_the_longest() -> None:
    waits = [TERMS.wait_s(UnreachableError(""), failures, lambda: 1.0) for failures in range(1, 5)]
    assert waits == [1.0, 2.0, 4.0, 4.0]


def test_after_so_many_failures_there_is_no_further_attempt() -> None:
    assert TERMS.wait_s(UnreachableError(""), 5, lambda: 0.0) is None


@given(st.floats(0, 100), st.floats(0, 0.999))
def test_who_asks_for_time_gets_at_least_that(asked_s: float, drawn: float) -> None:
    wait_s = TERMS.wait_s(OverloadedError("", retry_after_s=asked_s), 1, lambda: drawn)
    assert wait_s is not None
    assert asked_s <= wait_s <= asked_s + 1.0


def test_a_kind_may_have_a_limit_of_its_own() -> None:
    assert TERMS.limit_of("answer") == 60.0
    assert TERMS.limit_of("report") == TERMS.limit_s
