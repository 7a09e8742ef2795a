from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from libs.errors import UnreachableError
from libs.values import SourceVersion
from libs.values.retrieval import Change, ChangeBatch
from services.cache.freshness import Freshness
from services.cache.reasons import Reason
from services.cache.watch import Watch

SOURCES = (SourceVersion("plays", "hamlet", 1),)


class Station:
    """A retrieval service that says what a test puts on its streams."""

    def __init__(self) -> None:
        self.asked_after: list[int] = []
        self.streams: list[asyncio.Queue[ChangeBatch | Exception | None]] = []
        self.first: Callable[[int], ChangeBatch | Exception | None] = lambda _: None

    @asynccontextmanager
    async def watch(
        self, tenant_id: str, after_version: int
    ) -> AsyncIterator[AsyncIterator[ChangeBatch]]:
        assert tenant_id == "*"
        self.asked_after.append(after_version)
        stream: asyncio.Queue[ChangeBatch | Exception | None] = asyncio.Queue()
        self.streams.append(stream)
        first = self.first(after_version)
        if first is not None:
            stream.put_nowait(first)
        yield _batches(stream)


async def _batches(
    stream: asyncio.Queue[ChangeBatch | Exception | None],
) -> AsyncIterator[ChangeBatch]:
    while (said := await stream.get()) is not None:
        if isinstance(said, Exception):
            raise said
        yield said


def all_of(store_id: str, version: int) -> ChangeBatch:
    change = Change(version, "acme", "plays", "hamlet", deleted=False)
    return ChangeBatch((change,), version, store_id)


@pytest.fixture
def station() -> Station:
    return Station()


@pytest.fixture
async def freshness(station: Station) -> AsyncIterator[Freshness]:
    freshness = Freshness(silence_s=0.1)
    following = asyncio.create_task(Watch(station, freshness).follow())
    yield freshness
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


async def until(fact: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < end_s
        await asyncio.sleep(0.005)


async def test_what_retrieval_tells_is_known(station: Station, freshness: Freshness) -> None:
    station.first = lambda _: all_of("s", 1)
    await until(lambda: freshness.judge("acme", SOURCES, "s") is None)


@pytest.mark.parametrize("end", [None, UnreachableError("gone"), ValueError("a mistake")])
async def test_a_watch_that_ends_goes_on_where_it_was(
    station: Station, freshness: Freshness, end: Exception | None
) -> None:
    station.first = lambda _: all_of("s", 4)
    await until(lambda: freshness.index_version == 4)
    station.first = lambda _: ChangeBatch((), 5, "s")
    station.streams[-1].put_nowait(end)
    await until(lambda: freshness.index_version == 5)
    assert station.asked_after[-1] == 4


async def test_a_silent_stream_is_left_for_a_new_one(
    station: Station, freshness: Freshness
) -> None:
    station.first = lambda _: all_of("s", 4)
    await until(lambda: station.asked_after.count(4) >= 2)


async def test_another_store_is_told_from_its_beginning(
    station: Station, freshness: Freshness
) -> None:
    station.first = lambda _: all_of("s", 1)
    await until(lambda: freshness.index_version == 1)
    station.first = lambda after: all_of("t", 1) if after == 0 else ChangeBatch((), 9, "t")
    station.streams[-1].put_nowait(None)
    await until(lambda: freshness.judge("acme", SOURCES, "t") is None)
    assert freshness.judge("acme", SOURCES, "s") is Reason.DOCUMENT_CHANGED


async def test_a_store_that_was_put_back_is_told_from_its_beginning(
    station: Station, freshness: Freshness
) -> None:
    station.first = lambda _: all_of("s", 7)
    await until(lambda: freshness.index_version == 7)
    station.first = lambda after: all_of("s", 1) if after == 0 else ChangeBatch((), 3, "s")
    station.streams[-1].put_nowait(None)
    await until(lambda: freshness.judge("acme", SOURCES, "s") is None)
    assert freshness.index_version == 1
