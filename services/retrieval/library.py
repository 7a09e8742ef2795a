"""The library: what the service does, without the wire."""

from __future__ import annotations

import asyncio
import base64
import binascii
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from typing import Self

from libs.errors import DependencyUnavailableError, InvalidFieldError
from libs.values.retrieval import (
    ChangeBatch,
    CollectionCreated,
    Deleted,
    Document,
    DocumentPage,
    PassageList,
    SearchQuery,
    StoredDocument,
    Upserted,
)
from services.retrieval import limits
from services.retrieval.compactor import Compactor
from services.retrieval.feed import Feed
from services.retrieval.ingestion import Ingestion, content_sha256
from services.retrieval.reader import Reader
from services.retrieval.reranking.reranker import Reranker
from services.retrieval.search import Search
from services.retrieval.shelf import Shelf
from services.retrieval.store import Store
from services.retrieval.watch import Watch
from services.retrieval.writer import Commit, UnpreparedError, Writer

RETRY_AFTER_S = 1.0


class Library:
    """Documents of all tenants: kept on disk, found by words and by meaning."""

    def __init__(
        self,
        store: Store,
        shelf: Shelf,
        feed: Feed,
        compactor: Compactor,
        search: Search,
        ingestion: Ingestion,
        watch: Watch,
        store_id: str,
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._feed = feed
        self._compactor = compactor
        self._search = search
        self._ingestion = ingestion
        self._watch = watch
        self._store_id = store_id

    @classmethod
    @asynccontextmanager
    async def over(
        cls,
        store: Store,
        shelf: Shelf,
        ingestion: Ingestion,
        *,
        readers: int,
        heartbeat_s: float,
        reranker: Reranker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator[Self]:
        """Load the vectors of a store and yield the library over it."""
        async with store.snapshot() as snapshot:
            version, store_id = await snapshot.run(shelf.load)
        feed = Feed(version)
        compactor = Compactor(shelf)
        compactor.look()
        watch = Watch(store, feed, heartbeat_s=heartbeat_s, clock=clock)
        executor = ThreadPoolExecutor(readers, "dense")
        search = Search(store, shelf, executor, reranker)
        try:
            yield cls(store, shelf, feed, compactor, search, ingestion, watch, store_id)
        finally:
            compactor.close()
            # What is still looked for takes milliseconds, and nobody wants it any more.
            executor.shutdown(wait=False, cancel_futures=True)

    def drain(self) -> None:
        """Let the watchers go."""
        self._feed.close()

    async def search(self, query: SearchQuery) -> AsyncGenerator[PassageList]:
        """Yield ever better lists of passages; as `Search.find`."""
        limits.check_query(query)
        vector = limits.vector_of(query)
        async with aclosing(self._search.find(query, vector)) as lists:
            async for each in lists:
                yield each

    async def create_collection(self, tenant_id: str, name: str) -> CollectionCreated:
        """Create a collection; one that exists stays as it is."""
        limits.check_names(tenant_id, name)
        commit = await self._write(lambda writer: writer.create_collection(tenant_id, name))
        return CollectionCreated(commit.version, commit.patch is not None)

    async def delete_collection(self, tenant_id: str, name: str) -> Deleted:
        """Delete a collection and its documents; one that is not there is no error."""
        limits.check_names(tenant_id, name)
        commit = await self._write(lambda writer: writer.delete_collection(tenant_id, name))
        return Deleted(commit.version, len(commit.changes))

    async def upsert(self, tenant_id: str, name: str, documents: Sequence[Document]) -> Upserted:
        """Store documents, all of them or none; those that are the same change nothing.

        Raises:
            CollectionNotFoundError: the collection is not there.
            DependencyUnavailableError: vectors cannot be made, or nothing can be written.
            FingerprintMismatchError: the collection's other vectors are of another model.
        """
        limits.check_names(tenant_id, name)
        limits.check_documents(documents)
        try:
            commit = await self._upsert(tenant_id, name, documents, embed_all=False)
        except UnpreparedError:
            # One that was the same has been changed or deleted while others were embedded.
            commit = await self._upsert(tenant_id, name, documents, embed_all=True)
        return Upserted(commit.version, len(commit.changes), commit.passage_count)

    async def delete(self, tenant_id: str, name: str, document_ids: Sequence[str]) -> Deleted:
        """Delete documents; ids that are not there are no error.

        Raises:
            CollectionNotFoundError: the collection is not there.
        """
        limits.check_names(tenant_id, name)
        limits.check_ids(document_ids)
        commit = await self._write(lambda writer: writer.delete(tenant_id, name, document_ids))
        return Deleted(commit.version, len(commit.changes))

    async def get(self, tenant_id: str, name: str, document_id: str) -> StoredDocument:
        """Return one document, whole.

        Raises:
            CollectionNotFoundError: the collection is not there.
            DocumentNotFoundError: it has no such document.
        """
        limits.check_names(tenant_id, name)
        limits.check_id(document_id)
        async with self._store.snapshot() as snapshot:
            return await snapshot.run(
                lambda reader: reader.document(reader.collection(tenant_id, name).row, document_id)
            )

    async def list(
        self, tenant_id: str, name: str, page_size: int, page_token: str
    ) -> DocumentPage:
        """Return a page of documents by id.

        Raises:
            CollectionNotFoundError: the collection is not there.
        """
        limits.check_names(tenant_id, name)
        limits.check_page(page_size)
        after = _after(page_token)
        async with self._store.snapshot() as snapshot:
            return await snapshot.run(
                lambda reader: _page(reader, tenant_id, name, after, page_size)
            )

    async def watch(self, tenant_id: str, after_version: int) -> AsyncGenerator[ChangeBatch]:
        """Yield what changes after a version, and signs of life, until the end."""
        limits.check_position(after_version)
        watch = self._watch.follow(tenant_id, after_version, self._store_id)
        async with aclosing(watch) as batches:
            async for batch in batches:
                yield batch

    async def _upsert(
        self, tenant_id: str, name: str, documents: Sequence[Document], *, embed_all: bool
    ) -> Commit:
        ids = [each.document_id for each in documents]
        async with self._store.snapshot() as snapshot:
            stored = await snapshot.run(
                lambda reader: reader.hashes(reader.collection(tenant_id, name).row, ids)
            )
        hashes = await asyncio.to_thread(lambda: [content_sha256(each) for each in documents])
        known = {} if embed_all else stored
        prepared, fingerprint = await self._ingestion.prepare(documents, hashes, known)
        return await self._write(
            lambda writer: writer.upsert(tenant_id, name, prepared, fingerprint)
        )

    async def _write(self, work: Callable[[Writer], Commit]) -> Commit:
        loop = asyncio.get_running_loop()

        def write(writer: Writer) -> Commit:
            try:
                commit = work(writer)
            except sqlite3.OperationalError as error:
                raise _unwritable(error) from error
            if commit.patch is not None:
                self._shelf.apply(commit)
                # Before the caller is told: whoever watches hears of it no later.
                loop.call_soon_threadsafe(self._feed.publish, commit.version, commit.changes)
                self._compactor.look()
            return commit

        return await self._store.write(write)


def _unwritable(error: sqlite3.OperationalError) -> DependencyUnavailableError:
    message = f"the store cannot be written now: {error}"
    return DependencyUnavailableError(message, retry_after_s=RETRY_AFTER_S, dependency="disk")


def _page(reader: Reader, tenant_id: str, name: str, after: str, size: int) -> DocumentPage:
    collection = reader.collection(tenant_id, name)
    states = reader.states(collection.row, after, size + 1)
    page, more = tuple(states[:size]), len(states) > size
    return DocumentPage(page, _token(page[-1].document_id) if more else "", reader.version)


def _token(document_id: str) -> str:
    return base64.urlsafe_b64encode(document_id.encode()).decode()


def _after(page_token: str) -> str:
    try:
        return base64.b64decode(page_token.encode(), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        problem = "must be the next_page_token of a page"
        raise InvalidFieldError("page_token", problem) from error
