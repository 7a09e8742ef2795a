"""After a change of the model, stored questions are found by the new one's meaning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import pytest

from libs.errors import UnreachableError
from libs.values import Timing
from libs.values.embedding import Embeddings, ModelInfo
from services.cache.renewal import Renewal
from tests.support.waiting import until
from tests.unit.cache.parts import MODEL, Parts, draft, exact, replica_parts, semantic, vector

NEW = "model-2"
WEST = vector(-1.0, dimensions=16)


class Model:
    """An embedder that says what it is told to be; all texts mean the same to it."""

    def __init__(self, fingerprint: str = NEW) -> None:
        self.fingerprint = fingerprint
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str], *, limit_s: float | None = None) -> Embeddings:
        self.texts += texts
        return Embeddings(WEST * len(texts), 16, self.fingerprint, Timing())

    async def model(self, *, limit_s: float | None = None) -> ModelInfo:
        if not self.fingerprint:
            raise UnreachableError("no model")
        return ModelInfo("m", self.fingerprint, 16, ("en",), 128, 16, 256, 1000, 64, ())


@pytest.fixture
async def parts(redis_url: str) -> AsyncIterator[Parts]:
    async with replica_parts(redis_url) as parts:
        for number in range(20):
            await parts.keeper.keep(draft(f"question {number}?", entry_id=f"run-{number}"))
        yield parts


def renewal(parts: Parts, model: Model) -> Renewal:
    return Renewal(parts.store, parts.replica, model, every_s=0.01)


async def names(parts: Parts, where: bytes, fingerprint: str) -> str:
    found = await parts.finder.find(semantic(where, embedding_fingerprint=fingerprint))
    return "" if found.entry is None else found.entry.entry_id


async def is_found(parts: Parts, where: bytes, fingerprint: str) -> bool:
    return bool(await names(parts, where, fingerprint))


async def is_gone(parts: Parts, where: bytes, fingerprint: str) -> bool:
    return not await names(parts, where, fingerprint)


async def test_vectors_of_another_model_are_never_compared(parts: Parts) -> None:
    assert await names(parts, vector(1.0), MODEL)
    assert not await names(parts, vector(1.0), NEW)


async def test_a_new_model_that_stays_gives_its_vectors(parts: Parts) -> None:
    ends_at_s = {each: await end_s(parts, each) for each in range(20)}
    model = Model()
    one = renewal(parts, model)
    assert [await one.look() for _ in range(4)] == [0, 0, 20, 0]
    assert sorted(model.texts) == sorted(f"question {number}?" for number in range(20))
    assert await names(parts, WEST, NEW)
    assert not await names(parts, vector(1.0), MODEL)
    assert ends_at_s == {each: await end_s(parts, each) for each in range(20)}


async def end_s(parts: Parts, number: int) -> float:
    found = await parts.finder.find(exact(f"question {number}?"))
    assert found.entry is not None
    return found.entry.expires_at_s


async def test_models_that_answer_in_turn_change_nothing(parts: Parts) -> None:
    model = Model()
    one = renewal(parts, model)
    for _ in range(6):
        model.fingerprint = MODEL if model.fingerprint == NEW else NEW
        assert await one.look() == 0
    assert await names(parts, vector(1.0), MODEL)


async def test_one_replica_renews_and_the_others_hear_of_it(parts: Parts, redis_url: str) -> None:
    async with replica_parts(redis_url) as other:
        following = asyncio.create_task(other.replica.follow())
        await other.replica.ready(10.0)
        one, two = renewal(parts, Model()), renewal(other, Model())
        for _ in range(2):
            assert (await one.look(), await two.look()) == (0, 0)
        assert await one.look() == 20
        assert await two.look() == 0
        await until(lambda: is_found(other, WEST, NEW), within_s=20.0)
        await until(lambda: is_gone(other, vector(1.0), MODEL), within_s=20.0)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def test_an_answer_that_was_replaced_meanwhile_is_left_alone(parts: Parts) -> None:
    stored = await parts.finder.find(exact("question 3?"))
    assert stored.entry is not None
    await parts.keeper.keep(draft("question 3?", entry_id="newer"))
    assert not await parts.store.renew(stored.entry)
    found = await parts.finder.find(exact("question 3?"))
    assert found.entry is not None
    assert found.entry.entry_id == "newer"


async def test_without_a_model_nothing_is_renewed_and_later_it_is(parts: Parts) -> None:
    model = Model("")
    following = asyncio.create_task(renewal(parts, model).follow())
    await asyncio.sleep(0.05)
    assert await names(parts, vector(1.0), MODEL)
    model.fingerprint = NEW
    await until(lambda: is_found(parts, WEST, NEW), within_s=20.0)
    following.cancel()
