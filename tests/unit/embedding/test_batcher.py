import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from libs.budget import Budget
from libs.errors import BudgetExhaustedError
from services.embedding.batcher import Batcher, Embedded, Scored
from tests.support.embedding import GatedEngine, GatedScorer, score_of, vector_of


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def engine() -> GatedEngine:
    return GatedEngine()


@pytest.fixture
async def batcher(engine: GatedEngine, clock: Clock) -> AsyncIterator[Batcher]:
    async with Batcher(engine, run_tokens=64, clock=clock) as batcher:
        yield batcher
        engine.end_run()  # what a test left running must not keep the thread


async def waiting(call: Coroutine[Any, Any, Embedded]) -> asyncio.Task[Embedded]:
    """Start a call and let it reach the batcher's queue."""
    task = asyncio.create_task(call)
    await asyncio.sleep(0)
    return task


async def test_an_idle_engine_runs_a_call_at_once(batcher: Batcher, engine: GatedEngine) -> None:
    call = await waiting(batcher.embed(["a"]))
    assert await engine.begun() == ["a"]
    engine.end_run()
    assert await call == Embedded(vector_of("a"), queue_s=0.0, compute_s=0.0, batch_size=1)


async def test_calls_that_arrive_during_a_run_share_the_next_one(
    batcher: Batcher, engine: GatedEngine
) -> None:
    first = await waiting(batcher.embed(["a"]))
    await engine.begun()
    others = [await waiting(batcher.embed([text])) for text in "bcd"]
    engine.end_run()
    assert await engine.begun() == ["b", "c", "d"]
    engine.end_run()
    found = await asyncio.gather(first, *others)
    assert [each.vectors for each in found] == [vector_of(text) for text in "abcd"]
    assert [each.batch_size for each in found] == [1, 3, 3, 3]


async def test_equal_texts_are_computed_once(batcher: Batcher, engine: GatedEngine) -> None:
    first = await waiting(batcher.embed(["a"]))
    await engine.begun()
    twice = await waiting(batcher.embed(["b", "c", "b"]))
    again = await waiting(batcher.embed(["c"]))
    engine.end_run()
    assert await engine.begun() == ["b", "c"]
    engine.end_run()
    await first
    assert (await twice).vectors == vector_of("b") + vector_of("c") + vector_of("b")
    assert (await again).vectors == vector_of("c")


async def test_a_text_that_is_being_computed_serves_those_who_come_later(
    batcher: Batcher, engine: GatedEngine
) -> None:
    first = await waiting(batcher.embed(["a"]))
    await engine.begun()
    late = await waiting(batcher.embed(["a"]))
    engine.end_run()
    assert (await first).vectors == (await late).vectors
    assert engine.is_idle()


async def test_bulk_goes_behind_calls_that_came_after_it(
    batcher: Batcher, engine: GatedEngine
) -> None:
    running = await waiting(batcher.embed(["first block"], bulk=True))
    await engine.begun()
    bulk = await waiting(batcher.embed(["second block"], bulk=True))
    question = await waiting(batcher.embed(["question"]))
    engine.end_run()
    assert await engine.begun() == ["question"]
    engine.end_run()
    assert await engine.begun() == ["second block"]
    engine.end_run()
    await asyncio.gather(running, bulk, question)


async def test_a_question_waits_for_one_run_of_a_block_not_for_all_of_it(
    batcher: Batcher, engine: GatedEngine
) -> None:
    long = [letter * 200 for letter in "abcd"]  # 32 tokens each, two fill a run
    block = await waiting(batcher.embed(long, bulk=True))
    assert await engine.begun() == long[:2]
    question = await waiting(batcher.embed(["question"]))
    engine.end_run()
    assert await engine.begun() == ["question"]
    engine.end_run()
    await question
    engine.end_run()
    assert (await block).vectors == b"".join(map(vector_of, long))


async def test_a_call_whose_time_ends_while_it_waits_is_dropped_before_work_begins(
    batcher: Batcher, engine: GatedEngine, clock: Clock
) -> None:
    first = await waiting(batcher.embed(["a"]))
    await engine.begun()
    late = await waiting(batcher.embed(["b"], budget=Budget.of(1.0, clock=clock)))
    clock.now_s = 1.5
    engine.end_run()
    await first
    with pytest.raises(BudgetExhaustedError, match="embedding") as caught:
        await late
    assert caught.value.metadata["hop"] == "embedding"
    assert engine.is_idle()


async def after_a_run_of(
    took_s: float, batcher: Batcher, engine: GatedEngine, clock: Clock
) -> None:
    """Let the batcher see how long a short text takes."""
    call = await waiting(batcher.embed(["a"]))
    await engine.begun()
    clock.now_s += took_s
    engine.end_run()
    await call


async def test_a_call_that_can_no_longer_finish_is_dropped_before_work_begins(
    batcher: Batcher, engine: GatedEngine, clock: Clock
) -> None:
    await after_a_run_of(0.2, batcher, engine, clock)
    running = await waiting(batcher.embed(["b"]))
    await engine.begun()
    hopeless = await waiting(batcher.embed(["c"], budget=Budget.of(0.15, clock=clock)))
    hopeful = await waiting(batcher.embed(["d"], budget=Budget.of(0.35, clock=clock)))
    clock.now_s += 0.1
    engine.end_run()
    await running
    with pytest.raises(BudgetExhaustedError, match="50.0 ms left"):
        await hopeless
    assert await engine.begun() == ["d"]
    engine.end_run()
    await hopeful


async def test_a_pace_of_long_ago_drops_nobody(
    batcher: Batcher, engine: GatedEngine, clock: Clock
) -> None:
    await after_a_run_of(0.2, batcher, engine, clock)
    clock.now_s += 1.1
    call = await waiting(batcher.embed(["b"], budget=Budget.of(0.05, clock=clock)))
    assert await engine.begun() == ["b"]
    engine.end_run()
    await call


async def test_what_is_left_of_a_call_is_dropped_when_its_time_ends_between_runs(
    batcher: Batcher, engine: GatedEngine, clock: Clock
) -> None:
    long = [letter * 200 for letter in "abc"]
    call = await waiting(batcher.embed(long, budget=Budget.of(1.0, clock=clock)))
    await engine.begun()
    clock.now_s = 1.5
    engine.end_run()
    with pytest.raises(BudgetExhaustedError):
        await call
    assert engine.is_idle()


async def test_a_cancelled_callers_texts_are_not_computed(
    batcher: Batcher, engine: GatedEngine
) -> None:
    first = await waiting(batcher.embed(["a"]))
    await engine.begun()
    gone = await waiting(batcher.embed(["b"]))
    stays = await waiting(batcher.embed(["c"]))
    gone.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await gone
    engine.end_run()
    assert await engine.begun() == ["c"]
    engine.end_run()
    await asyncio.gather(first, stays)


async def test_a_caller_that_leaves_during_its_run_harms_nobody(
    batcher: Batcher, engine: GatedEngine
) -> None:
    gone = await waiting(batcher.embed(["a"]))
    await engine.begun()
    gone.cancel()
    stays = await waiting(batcher.embed(["b"]))
    engine.end_run()
    assert await engine.begun() == ["b"]
    engine.end_run()
    assert (await stays).vectors == vector_of("b")


async def test_waiting_and_working_are_told_apart(
    batcher: Batcher, engine: GatedEngine, clock: Clock
) -> None:
    first = await waiting(batcher.embed(["a"]))
    await engine.begun()
    clock.now_s = 1.0
    second = await waiting(batcher.embed(["b"]))
    clock.now_s = 3.0
    engine.end_run()
    await engine.begun()
    clock.now_s = 7.0
    engine.end_run()
    assert ((await first).queue_s, (await first).compute_s) == (0.0, 3.0)
    assert ((await second).queue_s, (await second).compute_s) == (2.0, 4.0)


async def test_a_failed_run_fails_its_callers_alone(batcher: Batcher, engine: GatedEngine) -> None:
    unlucky = await waiting(batcher.embed(["a"]))
    await engine.begun()
    lucky = await waiting(batcher.embed(["b"]))
    engine.end_run(MemoryError("no room"))
    with pytest.raises(MemoryError, match="no room"):
        await unlucky
    engine.end_run()
    assert (await lucky).vectors == vector_of("b")


async def test_closing_ends_the_calls_that_still_wait(engine: GatedEngine) -> None:
    async with Batcher(engine, run_tokens=64) as batcher:
        running = await waiting(batcher.embed(["a"]))
        await engine.begun()
        queued = await waiting(batcher.embed(["b"]))
        engine.end_run()
        running.cancel()
    found = await asyncio.gather(running, queued, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in found)


PAIR, OTHER = ("a", "b"), ("c", "d")


@pytest.fixture
async def scorer() -> GatedScorer:
    return GatedScorer()


@pytest.fixture
async def both(engine: GatedEngine, scorer: GatedScorer, clock: Clock) -> AsyncIterator[Batcher]:
    """A batcher of texts and of pairs."""
    async with Batcher(engine, {"same": scorer}, run_tokens=64, clock=clock) as batcher:
        yield batcher
        engine.end_run()
        scorer.end_run()


async def scoring(call: Coroutine[Any, Any, Scored]) -> asyncio.Task[Scored]:
    task = asyncio.create_task(call)
    await asyncio.sleep(0)
    return task


async def test_pairs_that_arrive_during_a_run_share_the_next_one(
    both: Batcher, scorer: GatedScorer
) -> None:
    first = await scoring(both.score("same", [PAIR]))
    assert await scorer.begun() == [PAIR]
    others = [await scoring(both.score("same", [OTHER, each])) for each in (OTHER, PAIR)]
    scorer.end_run()
    assert await scorer.begun() == [OTHER]
    scorer.end_run()
    assert (await first).scores == [score_of(PAIR)]
    assert (await others[0]).scores == [score_of(OTHER)] * 2
    assert await others[1] == Scored([score_of(OTHER), score_of(PAIR)], 0.0, 0.0, 2)


async def test_a_question_overtakes_pairs_that_came_before_it_and_pairs_overtake_bulk(
    both: Batcher, engine: GatedEngine, scorer: GatedScorer
) -> None:
    running = await waiting(both.embed(["a"]))
    await engine.begun()
    bulk = await waiting(both.embed(["bulk"], bulk=True))
    pair = await scoring(both.score("same", [PAIR]))
    question = await waiting(both.embed(["question"]))
    engine.end_run()
    assert await engine.begun() == ["question"]
    engine.end_run()
    assert await scorer.begun() == [PAIR]
    assert engine.is_idle()
    scorer.end_run()
    assert await engine.begun() == ["bulk"]
    engine.end_run()
    await asyncio.gather(running, bulk, pair, question)


async def test_a_pair_that_can_no_longer_be_scored_in_time_is_dropped(
    both: Batcher, scorer: GatedScorer, clock: Clock
) -> None:
    slow = await scoring(both.score("same", [PAIR]))
    await scorer.begun()
    clock.now_s += 0.2
    scorer.end_run()
    await slow
    with pytest.raises(BudgetExhaustedError, match="50.0 ms left"):
        await both.score("same", [OTHER], budget=Budget.of(0.05, clock=clock))
    assert scorer.is_idle()


async def test_the_pace_of_pairs_drops_no_text(
    both: Batcher, engine: GatedEngine, scorer: GatedScorer, clock: Clock
) -> None:
    slow = await scoring(both.score("same", [PAIR]))
    await scorer.begun()
    clock.now_s += 0.2
    scorer.end_run()
    await slow
    text = await waiting(both.embed(["a"], budget=Budget.of(0.05, clock=clock)))
    assert await engine.begun() == ["a"]
    engine.end_run()
    await text
