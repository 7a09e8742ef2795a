"""The nearest stored questions are explained, each tenant its own."""

from __future__ import annotations

import pytest

from libs.clients.cache import CacheClient
from libs.errors import InvalidFieldError
from libs.values.cache import AskedQuestion
from tests.unit.cache.parts import answer, semantic, vector


async def test_the_nearest_stored_questions_are_explained_whatever_their_context(
    cache: CacheClient,
) -> None:
    asked = AskedQuestion("Who wrote Hamlet?", collection="plays")
    await cache.store(answer())
    await cache.store(answer(entry_id="run-2", asked=asked, embedding=vector(0.0, 1.0)))
    looked_up = semantic()
    told = await cache.explain(
        "acme", "Who wrote it?", vector(1.0), looked_up.embedding_fingerprint
    )
    assert [each.entry_id for each in told.candidates] == ["run-1", "run-2"]
    near, far = told.candidates
    assert (near.reason, far.reason) == ("OK", "BELOW_FLOOR")
    assert near.similarity == pytest.approx(1.0, abs=1e-5)
    assert near.context != far.context
    assert far.collection == "plays"
    # Nothing was fitted for the model of these vectors.
    assert (told.floor, near.probability) == (pytest.approx(0.92), None)


async def test_no_other_tenants_questions_are_explained(cache: CacheClient) -> None:
    await cache.store(answer())
    told = await cache.explain("rival", "Who?", vector(1.0), semantic().embedding_fingerprint)
    assert told.candidates == ()


@pytest.mark.parametrize(
    ("question", "fingerprint", "limit", "field"),
    [
        ("", "f", 5, "asked.question"),
        ("Who?", "", 5, "embedding_fingerprint"),
        ("Who?", "f", 51, "limit"),
        ("Who?", "f", -1, "limit"),
    ],
)
async def test_what_cannot_be_explained_is_refused_by_its_field(
    cache: CacheClient, question: str, fingerprint: str, limit: int, field: str
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        await cache.explain("acme", question, vector(1.0), fingerprint, limit=limit)
    assert caught.value.field == field
