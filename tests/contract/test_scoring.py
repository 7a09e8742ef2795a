from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import pytest

from libs.budget import Budget, spending
from libs.clients import Connection
from libs.clients.embedding import EmbeddingClient
from libs.errors import (
    BudgetExhaustedError,
    InternalError,
    InvalidFieldError,
    NoScorerError,
    ScorerNotFoundError,
)
from libs.server.testing import serving
from libs.values.embedding import ScorerInfo
from services.embedding.batcher import Batcher
from services.embedding.engine import Pair, Scorer
from services.embedding.servicer import EmbeddingServicer, Limits
from tests.support.embedding import GatedEngine, GatedScorer, score_of, vector_of

LIMITS = Limits(characters=100, pairs=3)


@contextlib.asynccontextmanager
async def embedding_of(
    engine: GatedEngine, scorers: Mapping[str, Scorer]
) -> AsyncIterator[EmbeddingClient]:
    async with Batcher(engine, scorers, run_tokens=256) as batcher:
        models = [scorer.model for scorer in scorers.values()]
        servicer = EmbeddingServicer(batcher, engine.model, LIMITS, models)
        async with serving(servicer.register) as address, Connection.open(address) as connection:
            yield EmbeddingClient(connection)
        engine.end_run()  # what a test left running must not keep the thread


@pytest.fixture
async def engine() -> GatedEngine:
    return GatedEngine()


@pytest.fixture
async def scorer() -> GatedScorer:
    return GatedScorer()


@pytest.fixture
async def embedding(engine: GatedEngine, scorer: GatedScorer) -> AsyncIterator[EmbeddingClient]:
    """A scorer that runs when the test says so."""
    async with embedding_of(engine, {"same_answer": scorer}) as client:
        yield client
        scorer.end_run()


async def settled(client: EmbeddingClient) -> None:
    """Wait until the server knows of every call, and every end of one, that was sent before."""
    for _ in range(2):
        await client.model()


async def test_each_pair_has_its_score_in_its_place(
    embedding: EmbeddingClient, scorer: GatedScorer
) -> None:
    pairs = [("a", "b"), ("b", "a"), ("a", "b")]
    scorer.end_run()
    found = await embedding.score(pairs)
    assert found.values == tuple(map(score_of, pairs))
    assert (len(found), found[1]) == (3, score_of(("b", "a")))
    assert (found.scorer, found.fingerprint) == ("same_answer", "fake-scorer")
    assert await scorer.begun() == [("a", "b"), ("b", "a")]
    assert found.timing.batch_size == 1


async def test_the_service_says_which_scorers_it_has_and_what_they_take(
    embedding: EmbeddingClient,
) -> None:
    info = await embedding.model()
    assert info.scorers == (ScorerInfo("same_answer", "fake-scorer", 32),)
    assert info.max_pairs == 3


@pytest.mark.parametrize(
    ("pairs", "field", "problem"),
    [
        ([], "pairs", "must have at least 1 pair, has 0"),
        ([("a", "b")] * 4, "pairs", "must have at most 3 pairs, has 4"),
        ([("a", "b"), ("", "b")], "pairs[1].a", "must have at least 1 character, has 0"),
        ([("a", "x" * 101)], "pairs[0].b", "must have at most 100 characters, has 101"),
    ],
)
async def test_a_call_beyond_the_limits_says_which(
    embedding: EmbeddingClient, pairs: list[Pair], field: str, problem: str
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        await embedding.score(pairs)
    assert (caught.value.field, str(caught.value)) == (field, f"{field}: {problem}")


async def test_a_call_that_names_no_scorer_is_told_so(embedding: EmbeddingClient) -> None:
    with pytest.raises(InvalidFieldError, match="scorer: must have at least 1 character"):
        await embedding.score([("a", "b")], scorer="")


async def test_a_scorer_that_is_not_there_is_named_beside_those_that_are(
    embedding: EmbeddingClient,
) -> None:
    with pytest.raises(ScorerNotFoundError, match="'entails'; there is same_answer") as caught:
        await embedding.score([("a", "b")], scorer="entails")
    assert caught.value.metadata["scorer"] == "entails"


async def test_a_service_without_scorers_says_so_and_goes_on_embedding(
    engine: GatedEngine,
) -> None:
    async with embedding_of(engine, {}) as client:
        with pytest.raises(NoScorerError, match="built without an adapter"):
            await client.score([("a", "b")])
        assert (await client.model()).scorers == ()
        engine.end_run()
        assert (await client.embed(["a"])).vectors == vector_of("a")


async def test_no_scorer_is_no_fault_that_opens_the_breaker(engine: GatedEngine) -> None:
    async with embedding_of(engine, {}) as client:
        for _ in range(50):
            with pytest.raises(NoScorerError):
                await client.score([("a", "b")])
        assert (await client.model()).name == "fake"


async def test_pairs_whose_deadline_passes_while_they_wait_are_never_scored(
    embedding: EmbeddingClient, engine: GatedEngine, scorer: GatedScorer
) -> None:
    running = asyncio.create_task(embedding.embed(["a"]))
    await engine.begun()
    with pytest.raises(BudgetExhaustedError):
        await embedding.score([("late", "pair")], limit_s=0.05)
    await settled(embedding)
    following = asyncio.create_task(embedding.score([("a", "b")]))
    await settled(embedding)
    engine.end_run()
    scorer.end_run()
    await asyncio.gather(running, following)
    assert await scorer.begun() == [("a", "b")]
    assert scorer.is_idle()


async def test_a_caller_without_time_does_not_call(embedding: EmbeddingClient) -> None:
    with spending(Budget.of(0.0)), pytest.raises(BudgetExhaustedError):
        await embedding.score([("a", "b")])


async def test_a_question_is_not_held_up_by_pairs_that_wait(
    embedding: EmbeddingClient, engine: GatedEngine, scorer: GatedScorer
) -> None:
    running = asyncio.create_task(embedding.score([("a", "b")]))
    await scorer.begun()
    waiting = [asyncio.create_task(embedding.score([("c", str(n))])) for n in range(8)]
    await settled(embedding)
    question = asyncio.create_task(embedding.embed(["question"]))
    await settled(embedding)
    scorer.end_run()
    assert await engine.begun() == ["question"]
    assert scorer.is_idle()
    engine.end_run()
    assert (await question).vectors == vector_of("question")
    for _ in waiting:  # at most; they may share runs
        scorer.end_run()
    found = await asyncio.gather(running, *waiting)
    assert [each.values for each in found[1:]] == [(score_of(("c", str(n))),) for n in range(8)]


async def test_a_scorer_that_fails_is_an_internal_error_and_harms_no_text(
    embedding: EmbeddingClient, engine: GatedEngine, scorer: GatedScorer
) -> None:
    scorer.end_run(RuntimeError("secret"))
    with pytest.raises(InternalError) as caught:
        await embedding.score([("a", "b")])
    assert "secret" not in str(caught.value)
    engine.end_run()
    assert (await embedding.embed(["a"])).vectors == vector_of("a")
