from __future__ import annotations

import asyncio
import contextlib
import math
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.budget import Budget, spending
from libs.clients import Connection
from libs.clients.embedding import EmbeddingClient
from libs.errors import BudgetExhaustedError, InternalError, InvalidFieldError
from libs.server.testing import serving
from libs.values.embedding import Embeddings
from services.embedding.batcher import Batcher
from services.embedding.engine import Engine
from services.embedding.manifest import Precision
from services.embedding.onnx_engine import OnnxEngine
from services.embedding.servicer import EmbeddingServicer, Limits
from tests.support.embedding import GatedEngine, vector_of

LIMITS = Limits(texts=4, stream_texts=9, characters=100, block_texts=4)


@contextlib.asynccontextmanager
async def embedding_of(engine: Engine, limits: Limits) -> AsyncIterator[EmbeddingClient]:
    async with Batcher(engine, run_tokens=256) as batcher:
        servicer = EmbeddingServicer(batcher, engine.model, limits)
        async with serving(servicer.register) as address, Connection.open(address) as connection:
            yield EmbeddingClient(connection)


@pytest.fixture(scope="session")
def model(model_dir: Path) -> OnnxEngine:
    return OnnxEngine(model_dir, Precision.FP32, threads=1)


@pytest.fixture
async def embedding(model: OnnxEngine) -> AsyncIterator[EmbeddingClient]:
    """The real model, with the limits it has by default."""
    async with embedding_of(model, Limits()) as client:
        yield client


@pytest.fixture
async def engine() -> GatedEngine:
    return GatedEngine()


@pytest.fixture
async def gated(engine: GatedEngine) -> AsyncIterator[EmbeddingClient]:
    """An engine that runs when the test says so, with small limits."""
    async with embedding_of(engine, LIMITS) as client:
        yield client
        engine.end_run()  # what a test left running must not keep the thread


def numbers(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 4}f", vector)


def cosine(a: bytes, b: bytes) -> float:
    return sum(x * y for x, y in zip(numbers(a), numbers(b), strict=True))


async def collected(client: EmbeddingClient, texts: list[str]) -> list[Embeddings]:
    async with client.stream(texts) as blocks:
        return [block async for block in blocks]


async def settled(client: EmbeddingClient) -> None:
    """Wait until the server knows of every call, and every end of one, that was sent before.

    A connection keeps the order of what is sent. The first of the two calls may itself
    overtake a task that has not run yet; the second cannot.
    """
    for _ in range(2):
        await client.model()


async def test_texts_of_like_meaning_are_near(embedding: EmbeddingClient) -> None:
    asked = "How do I reset my password?"
    found = await embedding.embed([asked, "I forgot my password", "Who walked on the moon?"])
    assert cosine(found[0], found[1]) > 0.6
    assert cosine(found[0], found[2]) < 0.3


async def test_each_text_has_a_vector_of_length_one_in_its_place(
    embedding: EmbeddingClient,
) -> None:
    texts = ["first", "a second text of more words", "first"]
    found = await embedding.embed(texts)
    assert (len(found), found.dimensions, len(found.vectors)) == (3, 384, 3 * 384 * 4)
    assert found[0] == found[2] != found[1]
    assert math.hypot(*numbers(found[1])) == pytest.approx(1, abs=1e-5)
    with pytest.raises(IndexError):
        found[3]


async def test_calls_at_the_same_time_get_the_vectors_they_would_get_alone(
    embedding: EmbeddingClient,
) -> None:
    texts = [f"question number {number}, and {'more ' * number}" for number in range(12)]
    alone = [await embedding.embed([text]) for text in texts]
    together = await asyncio.gather(*(embedding.embed([text]) for text in texts))
    assert all(cosine(a[0], b[0]) > 0.99999 for a, b in zip(alone, together, strict=True))
    assert max(each.timing.batch_size for each in together) > 1


async def test_a_stream_has_the_same_vectors_block_by_block(embedding: EmbeddingClient) -> None:
    texts = [f"passage {number}" for number in range(70)]
    blocks = await collected(embedding, texts)
    assert [(block.first_index, len(block)) for block in blocks] == [(0, 32), (32, 32), (64, 6)]
    unary = await embedding.embed(texts[:64])
    assert all(cosine(blocks[i // 32][i % 32], unary[i]) > 0.99999 for i in range(64))
    assert {block.fingerprint for block in blocks} == {unary.fingerprint}


async def test_an_over_long_text_is_cut_not_refused(embedding: EmbeddingClient) -> None:
    text = "moon " * 254
    found = await embedding.embed([text, (text + "sun " * 5000)[:20_000]])
    assert found[0] == found[1]


async def test_the_model_says_what_it_is_and_takes(
    embedding: EmbeddingClient, model: OnnxEngine
) -> None:
    info = await embedding.model()
    assert (info.name, info.dimensions, info.languages) == ("all-MiniLM-L6-v2", 384, ("en",))
    assert (info.max_tokens, info.max_texts) == (256, 64)
    assert (info.max_stream_texts, info.max_characters) == (4096, 20_000)
    assert info.fingerprint == model.model.fingerprint
    assert (await embedding.embed(["a"])).fingerprint == info.fingerprint


REFUSED = [
    ([], "texts", "texts: must have at least 1 text, has 0"),
    (["a", "", "b"], "texts[1]", "texts[1]: must have at least 1 character, has 0"),
    (["a", "x" * 101], "texts[1]", "texts[1]: must have at most 100 characters, has 101"),
]


@pytest.mark.parametrize(
    ("texts", "field", "message"),
    [*REFUSED, (["a"] * 5, "texts", "texts: must have at most 4 texts, has 5")],
)
async def test_a_call_beyond_the_limits_says_which(
    gated: EmbeddingClient, texts: list[str], field: str, message: str
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        await gated.embed(texts)
    assert (caught.value.field, str(caught.value)) == (field, message)


@pytest.mark.parametrize(
    ("texts", "field", "message"),
    [*REFUSED, (["a"] * 10, "texts", "texts: must have at most 9 texts, has 10")],
)
async def test_a_stream_beyond_the_limits_says_which(
    gated: EmbeddingClient, texts: list[str], field: str, message: str
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        await collected(gated, texts)
    assert (caught.value.field, str(caught.value)) == (field, message)


async def test_what_is_just_within_the_limits_is_served(
    gated: EmbeddingClient, engine: GatedEngine
) -> None:
    for _ in range(4):
        engine.end_run()
    most = ["é" * 100, "x", "y", "z"]
    assert (await gated.embed(most)).vectors == b"".join(map(vector_of, most))
    assert len(await collected(gated, [str(number) for number in range(9)])) == 3


async def test_a_call_whose_deadline_passes_while_it_waits_is_never_computed(
    gated: EmbeddingClient, engine: GatedEngine
) -> None:
    running = asyncio.create_task(gated.embed(["a"]))
    await engine.begun()
    with pytest.raises(BudgetExhaustedError):
        await gated.embed(["late"], limit_s=0.05)
    await settled(gated)
    following = asyncio.create_task(gated.embed(["b"]))
    engine.end_run()
    engine.end_run()
    await asyncio.gather(running, following)
    assert await engine.begun() == ["b"]
    assert engine.is_idle()


async def test_a_caller_without_time_does_not_call(gated: EmbeddingClient) -> None:
    with spending(Budget.of(0.0)), pytest.raises(BudgetExhaustedError):
        await gated.embed(["a"])


async def test_a_question_overtakes_a_stream_and_both_end(
    gated: EmbeddingClient, engine: GatedEngine
) -> None:
    stream = asyncio.create_task(collected(gated, [f"passage {number}" for number in range(8)]))
    assert await engine.begun() == [f"passage {number}" for number in range(4)]
    question = asyncio.create_task(gated.embed(["question"]))
    await settled(gated)
    engine.end_run()
    assert await engine.begun() == ["question"]
    engine.end_run()
    assert (await question).vectors == vector_of("question")
    engine.end_run()
    assert len(await stream) == 2


async def test_leaving_a_stream_ends_its_work(gated: EmbeddingClient, engine: GatedEngine) -> None:
    async with gated.stream([f"passage {number}" for number in range(9)]) as blocks:
        await engine.begun()
        engine.end_run()
        await anext(blocks)
        assert await engine.begun() == [f"passage {number}" for number in range(4, 8)]
    await settled(gated)
    question = asyncio.create_task(gated.embed(["question"]))
    engine.end_run()
    engine.end_run()
    await question
    assert await engine.begun() == ["question"]
    assert engine.is_idle()


async def test_timing_tells_waiting_from_working_and_stays_within_the_call(
    gated: EmbeddingClient, engine: GatedEngine
) -> None:
    started_s = time.monotonic()
    running = asyncio.create_task(gated.embed(["a"]))
    await engine.begun()
    queued = [asyncio.create_task(gated.embed([text])) for text in "bc"]
    await settled(gated)
    held_s = 0.05
    await asyncio.sleep(held_s)
    engine.end_run()
    engine.end_run()
    await running
    timings = [(await each).timing for each in queued]
    elapsed_s = time.monotonic() - started_s
    for timing in timings:
        assert timing.batch_size == 2
        assert timing.queue_s >= held_s * 0.9
        assert timing.queue_s + timing.compute_s <= elapsed_s


async def test_an_engine_that_fails_is_an_internal_error_without_its_words(
    gated: EmbeddingClient, engine: GatedEngine
) -> None:
    engine.end_run(RuntimeError("secret"))
    with pytest.raises(InternalError) as caught:
        await gated.embed(["a"])
    assert "secret" not in str(caught.value)
