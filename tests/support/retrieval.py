"""A library of documents for tests, its invariants, and vectors that need no model."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import numpy as np
from grpc import aio
from numpy.typing import NDArray

from hasten.embedding.v1 import embedding_service_pb2 as pb
from hasten.embedding.v1.embedding_service_pb2_grpc import (
    EmbeddingServiceServicer,
    add_EmbeddingServiceServicer_to_server,
)
from libs.errors import DependencyUnavailableError
from libs.values.retrieval import PassageList, SearchQuery
from services.retrieval.chunking import Chunker
from services.retrieval.embedder import Vectors
from services.retrieval.ingestion import Ingestion
from services.retrieval.library import Library
from services.retrieval.reader import Reader
from services.retrieval.reranking.reranker import Reranker
from services.retrieval.schema import FILE_NAME, words_table
from services.retrieval.shelf import Shelf
from services.retrieval.store import Store

_WORD = re.compile(r"\w+")


class HashingEmbedder:
    """Counts words into slots by their hash: texts that share words are near."""

    def __init__(self, dimensions: int = 32, fingerprint: str = "hashing") -> None:
        self.dimensions = dimensions
        self.fingerprint = fingerprint
        self.texts: list[str] = []
        self.is_dead = False

    def vector(self, text: str) -> NDArray[np.float32]:
        counts = np.zeros(self.dimensions, np.float32)
        for word in _WORD.findall(text.lower()) or [""]:
            digest = hashlib.md5(word.encode(), usedforsecurity=False).digest()
            counts[int.from_bytes(digest[:4], "little") % self.dimensions] += 1
        return (counts / np.linalg.norm(counts)).astype(np.float32)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if self.is_dead:
            raise DependencyUnavailableError("no vectors", retry_after_s=1.0)
        self.texts += texts
        rows = np.array([self.vector(text) for text in texts], np.float32)
        return Vectors(rows.reshape(-1, self.dimensions), self.fingerprint if texts else "")

    def query(self, tenant_id: str, collection: str, question: str, **rest: object) -> SearchQuery:
        """A question with its vector."""
        vector = self.vector(question).astype("<f4").tobytes()
        return SearchQuery(tenant_id, collection, question, vector, self.fingerprint, **rest)


@asynccontextmanager
async def library_in(
    directory: Path,
    embedder: HashingEmbedder,
    *,
    shelf: Shelf | None = None,
    readers: int = 2,
    heartbeat_s: float = 0.1,
    reranker: Reranker | None = None,
) -> AsyncIterator[Library]:
    shelf = shelf or Shelf(graph_above=10_000, threads=1)
    async with Store.open(directory, readers=readers, now=lambda: 1_700_000_000.5) as store:
        ingestion = Ingestion(Chunker(900), embedder)
        async with Library.over(
            store,
            shelf,
            ingestion,
            readers=readers,
            heartbeat_s=heartbeat_s,
            reranker=reranker,
        ) as library:
            yield library


async def lists(library: Library, query: SearchQuery) -> list[PassageList]:
    return [each async for each in library.search(query)]


async def best(library: Library, query: SearchQuery) -> PassageList:
    found = await lists(library, query)
    assert [each.final for each in found] == [False] * (len(found) - 1) + [True]
    return found[-1]


def check_whole(directory: Path) -> dict[str, str]:
    """Check that no document is half stored; return each document's text by its name."""
    with closing(sqlite3.connect(directory / FILE_NAME)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        (version,) = db.execute("SELECT index_version FROM store").fetchone()
        collections = dict(db.execute("SELECT id, tenant_id || '/' || name FROM collections"))
        texts = {}
        rows = db.execute(
            "SELECT id, collection, document_id, version, passage_count, scope, title, metadata,"
            " text FROM documents"
        )
        for row, collection, name, at, count, scope, title, metadata, text in rows.fetchall():
            texts[f"{collections[collection]}/{name}"] = text
            _check_chunks(db, row, collection, scope, title, text, count)
            labels = db.execute("SELECT key, value FROM labels WHERE document = ?", (row,))
            assert dict(labels) == json.loads(metadata)
            change = "SELECT version FROM changes WHERE document_id = ? AND NOT deleted"
            assert (at,) in db.execute(change, (name,)).fetchall()
            assert at <= version
        for collection in collections:
            indexed = f"SELECT id FROM {words_table(collection)}_docsize ORDER BY id"  # noqa: S608 - a number in it
            stored = "SELECT id FROM chunks WHERE collection = ? ORDER BY id"
            ids = db.execute(stored, (collection,)).fetchall()
            assert db.execute(indexed).fetchall() == ids
        (live,) = db.execute("SELECT count(*) FROM changes WHERE NOT deleted").fetchone()
        assert live == len(texts)
        (chunks,) = db.execute("SELECT count(*) FROM chunks").fetchone()
        (vectors,) = db.execute("SELECT count(*) FROM vectors").fetchone()
        assert chunks == vectors
    return texts


def _check_chunks(
    db: sqlite3.Connection,
    row: int,
    collection: int,
    scope: str,
    title: str,
    text: str,
    count: int,
) -> None:
    chunks = db.execute(
        "SELECT c.collection, c.scope, c.title, c.text, c.start_offset, c.end_offset, c.ordinal,"
        " length(v.vector) FROM chunks c JOIN vectors v ON v.chunk = c.id WHERE c.document = ?"
        " ORDER BY c.ordinal",
        (row,),
    ).fetchall()
    assert len(chunks) == count
    for ordinal, chunk in enumerate(chunks):
        assert chunk[:3] == (collection, scope, title)
        assert chunk[3] == text[chunk[4] : chunk[5]]
        assert chunk[6] == ordinal
        assert chunk[7] > 0


def check_shelf(directory: Path, shelf: Shelf) -> None:
    """Check that the vectors in memory are those on disk."""
    with closing(sqlite3.connect(directory / FILE_NAME)) as db:
        for collection in Reader(db).collections():
            on_disk: dict[str, list[int]] = {}
            sql = "SELECT scope, id FROM chunks WHERE collection = ? ORDER BY id"
            for scope, chunk in db.execute(sql, (collection.row,)):
                on_disk.setdefault(scope, []).append(chunk)
            assert shelf.ids(collection.row) == on_disk


class HashingService(EmbeddingServiceServicer):
    """An embedding service over a `HashingEmbedder`; `block_count` texts a message."""

    def __init__(self, embedder: HashingEmbedder, block_count: int = 16) -> None:
        self.embedder = embedder
        self.block_count = block_count
        self.is_frozen = False
        self.leaves_out = 0

    def register(self, server: aio.Server) -> None:
        add_EmbeddingServiceServicer_to_server(self, server)

    async def StreamEmbeddings(
        self, request: pb.StreamEmbeddingsRequest, context: object
    ) -> AsyncIterator[pb.StreamEmbeddingsResponse]:
        texts = request.texts[: len(request.texts) - self.leaves_out]
        for first in range(0, len(texts), self.block_count):
            if self.is_frozen:
                await asyncio.Event().wait()
            vectors = await self.embedder.embed(texts[first : first + self.block_count])
            yield pb.StreamEmbeddingsResponse(
                first_index=first,
                vectors=vectors.matrix.astype("<f4").tobytes(),
                dimensions=self.embedder.dimensions,
                fingerprint=vectors.fingerprint,
            )
