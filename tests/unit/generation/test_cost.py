import pytest

from hasten.generation.v1 import generation_service_pb2 as pb
from services.generation.servicer import cost_of


@pytest.mark.parametrize(("tokens", "cost"), [(0, 1), (1, 1), (1024, 1), (1025, 2), (64_000, 63)])
def test_a_long_answer_counts_for_several(tokens: int, cost: int) -> None:
    assert cost_of(pb.GenerateTextRequest(max_output_tokens=tokens)) == cost


def test_a_length_that_makes_no_sense_is_not_free() -> None:
    assert cost_of(pb.GenerateTextRequest(max_output_tokens=-5)) == 1
