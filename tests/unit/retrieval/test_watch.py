import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from libs.errors import InvalidFieldError
from libs.values.retrieval import Change, ChangeBatch, Document
from services.retrieval.feed import MEMORY_COUNT, Feed
from services.retrieval.library import Library
from services.retrieval.watch import PAGE_COUNT
from tests.support.retrieval import HashingEmbedder, library_in

WAIT_S = 10.0
MANY = PAGE_COUNT + 100


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    async with library_in(tmp_path, HashingEmbedder(), heartbeat_s=0.02) as library:
        for tenant in ("acme", "rival"):
            await library.create_collection(tenant, "docs")
        yield library


async def until(
    batches: AsyncIterator[ChangeBatch], version: int
) -> tuple[list[Change], list[ChangeBatch]]:
    """Return what is told until everything up to a version has been."""
    changes: list[Change] = []
    told: list[ChangeBatch] = []
    async with asyncio.timeout(WAIT_S):
        async for batch in batches:
            told.append(batch)
            changes += batch.changes
            if batch.index_version >= version:
                return changes, told
    raise AssertionError("the watch ended")


def names(changes: list[Change]) -> list[tuple[str, bool]]:
    return [(change.document_id, change.deleted) for change in changes]


async def fill(library: Library, count: int) -> int:
    version = 0
    for start in range(0, count, 64):
        numbers = range(start, min(start + 64, count))
        stored = await library.upsert("acme", "docs", [Document(f"d{n}", "x") for n in numbers])
        version = stored.index_version
    return version


async def test_a_watcher_hears_what_was_and_what_comes(library: Library) -> None:
    await library.upsert("acme", "docs", [Document("a", "x")])
    await library.upsert("acme", "docs", [Document("a", "y"), Document("b", "x")])
    before = await library.delete("acme", "docs", ["b"])
    async with aclosing(library.watch("acme", 0)) as batches:
        changes, _ = await until(batches, before.index_version)
        # What happened to a document in between may be told or not.
        assert dict(names(changes)) == {"a": False, "b": True}
        after = await library.upsert("acme", "docs", [Document("c", "x")])
        changes, told = await until(batches, after.index_version)
        assert names(changes) == [("c", False)]
        assert changes[0].version == after.index_version
        assert all(batch.is_complete for batch in told)


async def test_only_later_changes_are_told(library: Library) -> None:
    first = await library.upsert("acme", "docs", [Document("a", "x")])
    second = await library.upsert("acme", "docs", [Document("b", "x")])
    async with aclosing(library.watch("*", first.index_version)) as batches:
        changes, _ = await until(batches, second.index_version)
    assert names(changes) == [("b", False)]


async def test_a_tenant_hears_of_its_own_documents_alone(library: Library) -> None:
    async with aclosing(library.watch("rival", 0)) as own, aclosing(library.watch("*", 0)) as all_:
        await library.upsert("acme", "docs", [Document("secret", "x")])
        last = await library.upsert("rival", "docs", [Document("mine", "x")])
        assert names((await until(own, last.index_version))[0]) == [("mine", False)]
        heard = await until(all_, last.index_version)
        assert names(heard[0]) == [("secret", False), ("mine", False)]


async def test_a_quiet_watch_gives_signs_of_life_with_the_stores_name(library: Library) -> None:
    await library.upsert("acme", "docs", [Document("a", "x")])
    async with asyncio.timeout(WAIT_S), aclosing(library.watch("acme", 0)) as batches:
        first = await anext(batches)
        signs = [await anext(batches) for _ in range(5)]
    assert first.changes
    assert {(s.changes, s.index_version, s.store_id) for s in signs} == {
        ((), first.index_version, first.store_id)
    }


async def test_a_long_past_is_told_in_pages_and_the_version_moves_with_the_last(
    library: Library,
) -> None:
    version = await fill(library, MANY)
    gone = await library.delete("acme", "docs", ["d3"])
    assert gone.index_version == version + 1
    # A feed that has just begun remembers nothing, as after a restart.
    async with aclosing(library.watch("acme", 0)) as batches:
        changes, told = await until(batches, gone.index_version)
    assert len({change.document_id for change in changes}) == MANY
    assert [batch.is_complete for batch in told] == [False] * (len(told) - 1) + [True]
    assert all(batch.index_version == 0 for batch in told[:-1])


async def test_after_a_restart_the_past_is_read_from_the_store(tmp_path: Path) -> None:
    async with library_in(tmp_path, HashingEmbedder()) as library:
        await library.create_collection("acme", "docs")
        version = await fill(library, MANY)
        store_id = (await anext(library.watch("acme", version))).store_id
    async with library_in(tmp_path, HashingEmbedder()) as library:
        async with aclosing(library.watch("acme", 0)) as batches:
            changes, told = await until(batches, version)
        assert len(changes) == MANY
        assert [batch.is_complete for batch in told] == [False, True]
        assert {batch.store_id for batch in told} == {store_id}


async def test_one_write_that_fills_pages_is_told_whole_before_its_version(
    library: Library,
) -> None:
    version = await fill(library, MANY)
    async with aclosing(library.watch("acme", version)) as batches:
        await until(batches, version)
        gone = await library.delete_collection("acme", "docs")
        changes, told = await until(batches, gone.index_version)
    assert len(changes) == MANY
    assert all(change.deleted for change in changes)
    with_changes = [batch for batch in told if batch.changes]
    assert [batch.is_complete for batch in with_changes] == [False, True]


async def test_a_watcher_ahead_of_the_store_is_told_where_the_store_is(library: Library) -> None:
    async with asyncio.timeout(WAIT_S), aclosing(library.watch("acme", 10_000)) as batches:
        assert (await anext(batches)).index_version == 2


async def test_watchers_leave_when_the_server_drains(library: Library) -> None:
    async def follow() -> None:
        async for _ in library.watch("*", 0):
            pass

    watchers = [asyncio.create_task(follow()) for _ in range(50)]
    await asyncio.sleep(0)
    library.drain()
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*watchers)


async def test_a_position_below_zero_is_refused(library: Library) -> None:
    with pytest.raises(InvalidFieldError, match="after_version"):
        await anext(library.watch("*", -1))


async def test_a_feed_remembers_the_last_commits_only() -> None:
    feed = Feed(0)
    for version in range(1, MEMORY_COUNT + 3):
        feed.publish(version, [Change(version, "acme", "docs", f"d{version}", deleted=False)])
    assert feed.since(1, "*") is None
    remembered = feed.since(2, "*")
    assert remembered is not None
    assert [change.version for change in remembered] == list(range(3, MEMORY_COUNT + 3))
    assert feed.since(feed.version, "*") == []
