"""`kill -9` of the retrieval service in the middle of ingestion, at moments and at statements.

What was acknowledged is there afterwards, and nothing is half there. Two services that are
broken on purpose show that these checks can fail.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from libs.clients.connection import Connection
from libs.clients.retrieval import RetrievalClient
from libs.errors import MeshError
from libs.server.testing import serving
from libs.values.retrieval import Document
from services.retrieval.shelf import Shelf
from tests.support.retrieval import (
    HashingEmbedder,
    HashingService,
    best,
    check_shelf,
    check_whole,
    library_in,
)

WAIT_S = 60.0
BATCH_COUNT = 6

SERVICE = "from services.retrieval.__main__ import main; main()"

# Kills itself before the n-th statement that it would write with, once it has been told to.
DIES_AT = """
import os, signal, sys
from services.retrieval import store
open_writer, count = store.open_writer, 0
def traced(path):
    writer = open_writer(path)
    def seen(statement):
        global count
        count += 1
        if count == {statement}:
            os.kill(os.getpid(), signal.SIGKILL)
    writer.set_trace_callback(seen)
    return writer
store.open_writer = traced
"""

# Broken on purpose: says that a write is done when it is not committed yet.
ACKNOWLEDGES_EARLY = """
from contextlib import contextmanager
from services.retrieval.writer import Writer
count = 0
@contextmanager
def late(self):
    global count
    if not self._db.in_transaction:
        self._db.execute("BEGIN IMMEDIATE")
    yield
    count += 1
    if count % 4 == 1:
        self._db.execute("COMMIT")
Writer._transaction = late
"""

# Broken on purpose: commits each document for itself, and dies in the second batch.
COMMITS_PIECES = """
import os, signal
from services.retrieval.writer import Writer
insert, count = Writer._insert, 0
def piecemeal(self, *rest):
    global count
    insert(self, *rest)
    self._db.execute("COMMIT")
    self._db.execute("BEGIN IMMEDIATE")
    count += 1
    if count == 9:
        os.kill(os.getpid(), signal.SIGKILL)
Writer._insert = piecemeal
"""


class Service:
    """A retrieval process that can be killed."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self.process = process
        self.address = address

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        assert await self.process.wait() == -signal.SIGKILL


@asynccontextmanager
async def running(data: Path, embedding: str, prelude: str = "") -> AsyncIterator[Service]:
    """Run the service until the block ends, with `prelude` before it in its process."""
    environment = os.environ | {
        "RETRIEVAL_ADDRESS": "127.0.0.1:0",
        "RETRIEVAL_DATA_DIR": str(data),
        "RETRIEVAL_EMBEDDING_TARGET": embedding,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", prelude + SERVICE, env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        address = await _wait_until_ready(process.stderr)
        yield Service(process, address)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _wait_until_ready(log: asyncio.StreamReader) -> str:
    address = ""
    async with asyncio.timeout(WAIT_S):
        while line := (await log.readline()).decode():
            if "listens on " in line:
                address = line.split()[-1]
            if line.rstrip().endswith("is ready"):
                return address
    raise AssertionError("the service ended")


@pytest.fixture
async def embedding() -> AsyncIterator[str]:
    async with serving(HashingService(HashingEmbedder()).register) as address:
        yield address


def batch(number: int, turn: int) -> list[Document]:
    """Documents of a few passages each; a later turn gives the same ids other texts."""
    return [
        Document(f"{number}-{each}", f"turn {turn} of {number}-{each}. " * 120, title=f"{number}")
        for each in range(BATCH_COUNT)
    ]


class Ingested:
    """What a client was told, and what it was telling when the service died."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, str] = {}
        self.in_doubt: dict[str, str] = {}

    def lost(self, stored: dict[str, str]) -> list[str]:
        """Return what was acknowledged and is not there, in that or a later state."""
        return [
            name
            for name, text in self.acknowledged.items()
            if stored.get(name) not in (text, self.in_doubt.get(name, text))
        ]

    def is_half(self, stored: dict[str, str]) -> bool:
        """Return whether the write in doubt is partly there."""
        there = [stored.get(name) == text for name, text in self.in_doubt.items()]
        return any(there) and not all(there)


async def ingest(address: str, until: int | None, first: int = 0) -> Ingested:
    """Store batches, each second one over one before, until so many are or the service dies."""
    told = Ingested()
    async with Connection.open(address) as connection:
        client = RetrievalClient(connection)
        try:
            await client.create_collection("acme", "docs", limit_s=WAIT_S)
            number = first
            while until is None or number - first < until:
                documents = batch(number // 2 if number % 2 else number, number)
                told.in_doubt = {f"acme/docs/{d.document_id}": d.text for d in documents}
                await client.upsert("acme", "docs", documents, limit_s=WAIT_S)
                told.acknowledged |= told.in_doubt
                told.in_doubt = {}
                number += 1
        except MeshError:
            if until is not None:
                raise
    return told


async def assert_whole(data: Path, told: Ingested) -> None:
    """Check the store as it was left, and again as a new process reads it."""
    stored = await asyncio.to_thread(check_whole, data)
    assert told.lost(stored) == []
    assert not told.is_half(stored)
    embedder, shelf = HashingEmbedder(), Shelf(graph_above=10_000, threads=1)
    async with library_in(data, embedder, shelf=shelf) as library:
        await asyncio.to_thread(check_shelf, data, shelf)
        for name, text in list(told.acknowledged.items())[-3:]:
            title = name.rpartition("/")[2].partition("-")[0]
            found = await best(library, embedder.query("acme", "docs", f"{title} {text[:40]}"))
            assert all(
                passage.text in stored[f"acme/docs/{passage.document_id}"]
                for passage in found.passages
            )
            assert found.passages


@pytest.mark.parametrize("after_s", [0.15, 0.4, 0.9])
async def test_what_was_acknowledged_survives_kill_9(
    tmp_path: Path, embedding: str, after_s: float
) -> None:
    data = tmp_path / "data"
    async with running(data, embedding) as service:
        ingesting = asyncio.create_task(ingest(service.address, None))
        await asyncio.sleep(after_s)
        await service.kill()
        told = await ingesting
    assert told.acknowledged
    await assert_whole(data, told)
    async with running(data, embedding) as service:
        # The same documents again, as a client does that was not answered.
        again = await ingest(service.address, 2)
        await service.kill()
    await assert_whole(data, again)


@pytest.mark.parametrize(
    "statement",
    [
        1,
        7,
        20,
        45,
        80,
        pytest.param(130, marks=pytest.mark.prove),
        *(pytest.param(n, marks=pytest.mark.prove) for n in range(10, 420, 17)),
    ],
)
async def test_a_write_that_dies_at_any_statement_is_there_whole_or_not_at_all(
    tmp_path: Path, embedding: str, statement: int
) -> None:
    data = tmp_path / "data"
    async with running(data, embedding) as service:
        await ingest(service.address, 2)
        await service.kill()
    dying = DIES_AT.format(statement=40 + statement)
    async with running(data, embedding, dying) as service:
        told = await ingest(service.address, None, first=2)
        assert await service.process.wait() == -signal.SIGKILL
    await assert_whole(data, told)


async def test_the_checks_notice_a_service_that_acknowledges_before_it_commits(
    tmp_path: Path, embedding: str
) -> None:
    data = tmp_path / "data"
    async with running(data, embedding, ACKNOWLEDGES_EARLY) as service:
        told = await ingest(service.address, 6)
        await service.kill()
    stored = await asyncio.to_thread(check_whole, data)
    assert told.lost(stored)


async def test_the_checks_notice_a_service_that_commits_in_pieces(
    tmp_path: Path, embedding: str
) -> None:
    data = tmp_path / "data"
    async with running(data, embedding, COMMITS_PIECES) as service:
        told = await ingest(service.address, None)
        assert await service.process.wait() == -signal.SIGKILL
    with pytest.raises(AssertionError):
        await assert_whole(data, told)


async def test_a_service_that_is_watched_ends_when_it_is_told_to(
    tmp_path: Path, embedding: str
) -> None:
    async with (
        running(tmp_path / "data", embedding) as service,
        Connection.open(service.address) as connection,
        RetrievalClient(connection).watch("*") as batches,
    ):
        await anext(batches)
        service.process.terminate()
        async with asyncio.timeout(WAIT_S):
            assert [batch async for batch in batches if batch.changes] == []
            assert await service.process.wait() == 0
