"""What is near enough, and which vectors are compared."""

from __future__ import annotations

import pytest

from libs.clients.cache import CacheClient
from libs.errors import DimensionMismatchError, InvalidFieldError
from tests.contract.cache.parts import until_decided
from tests.unit.cache.parts import (
    Documents,
    answer,
    at_similarity,
    built_from,
    decided,
    exact,
    semantic,
    vector,
)


@pytest.mark.parametrize(
    ("asked_for", "similarity", "hit"),
    [
        (None, 0.93, True),
        (None, 0.91, False),
        (0.0, 0.93, True),
        (0.0, 0.91, False),
        (0.5, 0.91, False),
        (0.95, 0.93, False),
        (0.95, 0.96, True),
        (1.0, 0.99, False),
        (1.0, 1.0, True),
    ],
)
async def test_a_caller_may_only_raise_the_floor(
    cache: CacheClient, asked_for: float | None, similarity: float, *, hit: bool
) -> None:
    await cache.store(answer())
    lookup = semantic(at_similarity(similarity), min_similarity=asked_for)
    decision = await decided(cache, lookup)
    assert (decision.hit, decision.reason) == (hit, "OK" if hit else "BELOW_FLOOR")


@pytest.mark.parametrize("outside", [-0.01, 1.01, float("nan"), float("inf")])
async def test_a_similarity_outside_zero_to_one_is_refused(
    cache: CacheClient, outside: float
) -> None:
    with pytest.raises(InvalidFieldError, match=r"^min_similarity: must be in \[0, 1\]") as caught:
        await decided(cache, semantic(min_similarity=outside))
    assert caught.value.field == "min_similarity"


async def test_an_allowance_of_none_at_all_is_refused_and_not_taken_for_unset(
    cache: CacheClient,
) -> None:
    with pytest.raises(InvalidFieldError, match=r"^wrong_hit_allowance: must be in \(0, 1\]"):
        await decided(cache, semantic(wrong_hit_allowance=0.0))


async def test_a_vector_of_another_length_is_refused(cache: CacheClient) -> None:
    await cache.store(answer())
    for refused in (
        decided(cache, semantic(vector(1.0, dimensions=4))),
        cache.store(answer("Other?", embedding=vector(1.0, dimensions=4))),
    ):
        with pytest.raises(DimensionMismatchError) as caught:
            await refused
        assert caught.value.metadata == {"got": "4", "want": "8"}


async def test_vectors_of_two_models_are_never_compared(cache: CacheClient) -> None:
    await cache.store(answer())
    other = semantic(vector(1.0, dimensions=4), embedding_fingerprint="model-2")
    assert (await decided(cache, other)).reason == "NOT_FOUND"


async def test_many_unusable_neighbours_do_not_hide_one_that_serves(
    cache: CacheClient, documents: Documents
) -> None:
    version = documents.change("hamlet")
    for number in range(30):
        near = answer(f"Near {number}?", entry_id=f"near-{number}", **built_from("hamlet", version))
        await cache.store(near)
    await cache.store(answer("Far?", entry_id="far", embedding=at_similarity(0.93)))
    documents.change("hamlet")
    await until_decided(cache, exact("Near 0?"), "DOCUMENT_CHANGED")
    assert (await decided(cache, semantic())).entry_id == "far"
