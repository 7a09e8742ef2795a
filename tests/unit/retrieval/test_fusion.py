import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retrieval.fusion import fused

rankings = st.lists(
    st.lists(st.integers(0, 9), unique=True).map(lambda ids: [(i, 0.0) for i in ids]), max_size=3
)


def test_a_passage_high_in_both_rankings_is_first() -> None:
    words, meaning = [(1, 9.0), (2, 8.0)], [(2, 0.9), (3, 0.8)]
    assert [each for each, _ in fused([words, meaning], 3)] == [2, 1, 3]


def test_the_score_is_the_sum_of_reciprocal_ranks() -> None:
    (best,) = fused([[(7, 1.0)], [(7, 1.0)]], 1)
    assert best == (7, pytest.approx(2 / 61))


@given(rankings=rankings, limit=st.integers(1, 20))
def test_every_id_comes_once_best_first(
    rankings: list[list[tuple[int, float]]], limit: int
) -> None:
    found = fused(rankings, limit)
    everything = {each for ranking in rankings for each, _ in ranking}
    assert len(found) == min(limit, len(everything))
    assert len({each for each, _ in found}) == len(found)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
