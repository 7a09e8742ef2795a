import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from libs.budget import Budget, spending
from libs.config import ConfigError
from libs.errors import BudgetExhaustedError, DependencyUnavailableError
from libs.values.retrieval import Document, SearchQuery
from services.retrieval.chunking import Chunker
from services.retrieval.ingestion import Ingestion
from services.retrieval.library import Library
from services.retrieval.reader import Reader
from services.retrieval.schema import FILE_NAME, SCHEMA_VERSION
from services.retrieval.shelf import Shelf
from services.retrieval.store import Store
from services.retrieval.writer import Writer
from tests.support.retrieval import HashingEmbedder, best, library_in


async def test_a_store_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    async with Store.open(tmp_path, readers=1):
        with pytest.raises(ConfigError, match="another retrieval service"):
            async with Store.open(tmp_path, readers=1):
                pass
    async with Store.open(tmp_path, readers=1):
        pass


def write_version(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE IF NOT EXISTS other (x)")
        db.execute(f"PRAGMA user_version = {version}")


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1])
async def test_a_file_of_another_version_is_refused_and_left_alone(
    tmp_path: Path, version: int
) -> None:
    await asyncio.to_thread(write_version, tmp_path / FILE_NAME, version)
    with pytest.raises(ConfigError, match=f"schema version is {version}"):
        async with Store.open(tmp_path, readers=1):
            pass


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    await asyncio.to_thread((tmp_path / FILE_NAME).write_text, "not a database " * 100)
    with pytest.raises(ConfigError, match="cannot be opened as a store"):
        async with Store.open(tmp_path, readers=1):
            pass
    # The folder is free again.
    await asyncio.to_thread((tmp_path / FILE_NAME).unlink)
    async with Store.open(tmp_path, readers=1):
        pass


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    embedder = HashingEmbedder()
    async with library_in(tmp_path, embedder) as library:
        await library.create_collection("acme", "docs")
        await library.upsert("acme", "docs", [Document("a", "alpha words")])
        before = await best(library, embedder.query("acme", "docs", "alpha"))
    async with library_in(tmp_path, embedder) as library:
        after = await best(library, embedder.query("acme", "docs", "alpha"))
        assert (after.passages, after.store_id) == (before.passages, before.store_id)
        again = await library.upsert("acme", "docs", [Document("b", "beta")])
        assert again.index_version == before.index_version + 1


async def test_two_stores_have_different_names(tmp_path: Path) -> None:
    names = set()
    for name in ("one", "two"):
        async with library_in(tmp_path / name, HashingEmbedder()) as library:
            names.add((await anext(library.watch("*", 0))).store_id)
    assert len(names) == 2


def fill_the_disk(writer: Writer) -> None:
    db = writer._db  # noqa: SLF001 - there is no kinder way to a full disk
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages + 2}")


async def test_a_full_disk_refuses_the_write_and_keeps_what_was_there(tmp_path: Path) -> None:
    embedder = HashingEmbedder()
    shelf = Shelf(graph_above=10_000, threads=1)
    ingestion = Ingestion(Chunker(900), embedder)
    async with (
        Store.open(tmp_path, readers=1) as store,
        Library.over(store, shelf, ingestion, readers=1, heartbeat_s=0.1) as library,
    ):
        await library.create_collection("acme", "docs")
        await library.upsert("acme", "docs", [Document("a", "alpha")])
        await store.write(fill_the_disk)
        with pytest.raises(DependencyUnavailableError, match="full") as caught:
            await library.upsert("acme", "docs", [Document("b", "alpha " * 10_000)])
        assert caught.value.retry_after_s == 1.0
        found = await best(library, SearchQuery("acme", "docs", "alpha"))
        assert [passage.document_id for passage in found.passages] == ["a"]


def settings_of(writer: Writer) -> tuple[str, int]:
    db = writer._db  # noqa: SLF001 - a power cut cannot be had in a test
    (mode,) = db.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = db.execute("PRAGMA synchronous").fetchone()
    return mode, synchronous


async def test_every_commit_is_synced_to_the_disk(tmp_path: Path) -> None:
    full = 2
    async with Store.open(tmp_path, readers=1) as store:
        assert await store.write(settings_of) == ("wal", full)


async def test_a_cancelled_read_ends_when_its_thread_has_let_go_of_the_connection(
    tmp_path: Path,
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def read(_: Reader) -> None:
        begun.set()
        assert may_end.wait(10)

    async with Store.open(tmp_path, readers=2) as store, store.snapshot() as snapshot:
        task = asyncio.create_task(snapshot.run(read))
        assert await asyncio.to_thread(begun.wait, 10)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_cancelled_query_is_interrupted(tmp_path: Path) -> None:
    endless = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    )
    begun = threading.Event()

    def read(reader: Reader) -> None:
        begun.set()
        reader._db.execute(endless).fetchone()  # noqa: SLF001 - no real query takes for ever

    async with Store.open(tmp_path, readers=1) as store:
        async with asyncio.timeout(10), store.snapshot() as snapshot:
            task = asyncio.create_task(snapshot.run(read))
            assert await asyncio.to_thread(begun.wait, 10)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with store.snapshot() as snapshot:
            assert await snapshot.run(lambda reader: reader.version) == 0


class Gate:
    """Work for a thread that a test sees begin and lets end."""

    def __init__(self) -> None:
        self._begun, self._may_end = threading.Event(), threading.Event()
        self.has_ended = False

    def __call__(self, _: Reader | Writer) -> None:
        self._begun.set()
        assert self._may_end.wait(10)
        self.has_ended = True

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.wait, 10)

    def open(self) -> None:
        self._may_end.set()


async def test_a_write_that_has_begun_is_done_though_its_caller_left(tmp_path: Path) -> None:
    work = Gate()
    async with Store.open(tmp_path, readers=1) as store:
        task = asyncio.create_task(store.write(work))
        await work.begun()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        work.open()
        await store.write(lambda _: None)
        assert work.has_ended


async def test_a_write_that_has_not_begun_is_dropped_when_its_caller_leaves(
    tmp_path: Path,
) -> None:
    first, second = Gate(), Gate()
    second.open()
    async with Store.open(tmp_path, readers=1) as store:
        running = asyncio.create_task(store.write(first))
        await first.begun()
        waits = asyncio.create_task(store.write(second))
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        first.open()
        await running
        await store.write(lambda _: None)
        assert not second.has_ended


async def test_a_write_does_not_begin_when_its_time_is_over(tmp_path: Path) -> None:
    now_s, first, second = [0.0], Gate(), Gate()
    second.open()
    async with Store.open(tmp_path, readers=1) as store:
        running = asyncio.create_task(store.write(first))
        await first.begun()
        with spending(Budget.of(1.0, clock=lambda: now_s[0])):
            waits = asyncio.create_task(store.write(second))
        await asyncio.sleep(0)
        now_s[0] = 2.0
        first.open()
        await running
        with pytest.raises(BudgetExhaustedError, match="retrieval"):
            await waits
        assert not second.has_ended


async def test_a_search_does_not_begin_when_its_time_is_over_or_its_caller_has_left(
    tmp_path: Path,
) -> None:
    now_s, first, work = [0.0], Gate(), Gate()
    work.open()
    async with Store.open(tmp_path, readers=1) as store:

        async def read() -> None:
            async with store.snapshot() as snapshot:
                await snapshot.run(work)

        async with store.snapshot() as snapshot:
            running = asyncio.create_task(snapshot.run(first))
            await first.begun()
            with spending(Budget.of(1.0, clock=lambda: now_s[0])):
                late = asyncio.create_task(read())
            gone = asyncio.create_task(read())
            await asyncio.sleep(0)
            gone.cancel()
            now_s[0] = 2.0
            first.open()
            await running
        with pytest.raises(BudgetExhaustedError, match="retrieval"):
            await late
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert not work.has_ended
        await read()
        assert work.has_ended
