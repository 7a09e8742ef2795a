import math

from hypothesis import given
from hypothesis import strategies as st

from libs.resilience.grid import BUCKETS, EDGES, LEAST_S, MOST_S, NEVER, REPRESENTATIVES_S, index


@given(seconds=st.floats(LEAST_S, MOST_S, exclude_min=True))
def test_a_representative_is_within_two_and_a_half_percent(seconds: float) -> None:
    assert abs(REPRESENTATIVES_S[index(seconds)] / seconds - 1) <= 0.025


def test_an_edge_belongs_to_the_bucket_below_it() -> None:
    assert [index(edge) for edge in EDGES] == list(range(NEVER))
    assert [index(math.nextafter(edge, math.inf)) for edge in EDGES] == list(range(1, BUCKETS))


def test_what_is_too_small_is_nothing_and_what_is_too_large_is_never() -> None:
    assert [index(-1.0), index(0.0), index(LEAST_S)] == [0, 0, 0]
    assert [index(MOST_S), index(120.1), index(math.inf)] == [NEVER - 1, NEVER, NEVER]
