import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.errors import DependencyUnavailableError, OverloadedError
from libs.values.traces import Span
from services.traces.intake import Intake
from services.traces.store import SpanStore

TRACE = "ab" * 16


def spans(first: int, count: int) -> list[Span]:
    return [
        Span(TRACE, f"{number:016x}", "", "work", "test", start_ns=1, duration_ns=1)
        for number in range(first, first + count)
    ]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SpanStore]:
    opened = await asyncio.to_thread(SpanStore.open, tmp_path)
    yield opened
    await asyncio.to_thread(opened.close)


@pytest.fixture
def intake(store: SpanStore) -> Intake:
    return Intake(store, capacity_spans=10, clock=lambda: 1_800_000_000.0)


@pytest.fixture
async def writing(intake: Intake) -> AsyncIterator[None]:
    running = asyncio.create_task(intake.run())
    yield
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.usefixtures("writing")
async def test_what_was_put_is_stored_when_put_returns(store: SpanStore, intake: Intake) -> None:
    assert await intake.put(spans(1, 3)) == 3
    assert store.span_count == 3


async def test_a_batch_that_does_not_fit_is_refused_whole_and_may_come_again(
    store: SpanStore, intake: Intake
) -> None:
    waiting = asyncio.create_task(intake.put(spans(1, 8)))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as refused:
        await intake.put(spans(20, 3))
    assert refused.value.retry_after_s is not None

    running = asyncio.create_task(intake.run())
    assert await waiting == 8
    assert await intake.put(spans(20, 3)) == 3
    assert store.span_count == 11
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.usefixtures("writing")
async def test_of_a_batch_that_could_never_fit_the_first_spans_are_stored(
    store: SpanStore, intake: Intake
) -> None:
    assert await intake.put(spans(1, 15)) == 10
    assert store.span_count == 10


async def test_spans_of_a_caller_that_left_are_stored(store: SpanStore, intake: Intake) -> None:
    leaving = asyncio.create_task(intake.put(spans(1, 2)))
    await asyncio.sleep(0)
    leaving.cancel()
    running = asyncio.create_task(intake.run())
    await intake.drain()
    assert store.span_count == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.usefixtures("writing")
async def test_a_store_that_cannot_be_written_is_said_and_ends_nothing(
    store: SpanStore, intake: Intake
) -> None:
    await asyncio.to_thread(store.close)
    with pytest.raises(DependencyUnavailableError):
        await intake.put(spans(1, 10))
    with pytest.raises(DependencyUnavailableError):
        await intake.put(spans(1, 10))
