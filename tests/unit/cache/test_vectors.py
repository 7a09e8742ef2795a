from __future__ import annotations

import numpy as np
import pytest

from libs.errors import DimensionMismatchError, InvalidFieldError
from services.cache.vectors import VectorLengths, unpacked
from tests.unit.cache.parts import vector


def packed(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


def test_a_packed_vector_is_unpacked() -> None:
    assert unpacked(packed(0.6, 0.8)).tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(
    "wrong",
    [b"", b"abc", packed(0.0, 0.0), packed(2.0, 0.0), packed(float("nan")), packed(float("inf"))],
)
def test_what_is_no_normalised_vector_is_refused(wrong: bytes) -> None:
    with pytest.raises(InvalidFieldError, match=r"^embedding: must be"):
        unpacked(wrong)


def test_a_model_keeps_the_length_it_was_first_seen_with() -> None:
    lengths = VectorLengths()
    lengths.check("acme", "m", 8)
    with pytest.raises(DimensionMismatchError) as caught:
        lengths.check("acme", "m", 4)
    assert caught.value.metadata == {"got": "4", "want": "8"}
    assert lengths.fits("acme", "m", 8)


def test_one_tenant_cannot_spoil_a_model_for_another() -> None:
    lengths = VectorLengths()
    lengths.check("rival", "m", 1)
    lengths.check("acme", "m", len(unpacked(vector(1.0))))


def test_models_that_are_seen_once_do_not_pile_up() -> None:
    lengths = VectorLengths()
    for number in range(5_000):
        lengths.check("acme", f"m{number}", 8)
    lengths.check("acme", "m0", 4)
