"""What is written to the store: each method is one transaction, on disk when it returns."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from libs.errors import CollectionNotFoundError, FingerprintMismatchError
from libs.values.retrieval import Change, Document
from services.retrieval.chunking import Chunk
from services.retrieval.reader import Collection, Reader
from services.retrieval.schema import words_table

_MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document, ready to be stored.

    Attributes:
        document: as it was given.
        content_sha256: of everything that was given.
        chunks: its passages; None if it looked unchanged and they were not made.
        vectors: one row for each of them.
    """

    document: Document
    content_sha256: str
    chunks: tuple[Chunk, ...] | None = None
    vectors: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))


@dataclass(slots=True)
class Patch:
    """What a write does to a collection's vectors, by scope.

    Attributes:
        collection: row of the collection.
        exists: False if the collection is gone.
        added: ids and vectors that are new.
        removed: ids that are gone.
    """

    collection: int
    exists: bool = True
    added: dict[str, list[tuple[int, NDArray[np.float32]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    removed: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True, slots=True)
class Commit:
    """A write that is on disk.

    Attributes:
        version: the version at which it is visible.
        changes: the documents it changed; a write without any gets no version.
        patch: what it did to the vectors; None if nothing was written.
        passage_count: passages that were made.
    """

    version: int
    changes: tuple[Change, ...] = ()
    patch: Patch | None = None
    passage_count: int = 0


class UnpreparedError(Exception):
    """A document looked unchanged when it was prepared, and is not the same any more."""


class Writer:
    """Writes over one connection, from one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, *, now: Callable[[], float]) -> None:
        """Write with `connection`; `now` is Unix time in seconds."""
        self._db = connection
        self._read = Reader(connection)
        self._now = now

    def create_collection(self, tenant_id: str, name: str) -> Commit:
        """Create a collection; one that exists keeps its version and has no patch."""
        with self._transaction():
            try:
                return Commit(self._read.collection(tenant_id, name).created_version)
            except CollectionNotFoundError:
                version = self._next_version()
            row = self._db.execute(
                "INSERT INTO collections (tenant_id, name, created_version) VALUES (?, ?, ?)",
                (tenant_id, name, version),
            ).lastrowid
            assert row is not None  # noqa: S101 - an INSERT has one; for the type checker
            self._db.execute(
                f"CREATE VIRTUAL TABLE {words_table(row)} USING fts5("
                "title, heading, text, content = 'chunks', content_rowid = 'id',"
                " tokenize = 'porter unicode61 remove_diacritics 2')"
            )
            return Commit(version, patch=Patch(row))

    def delete_collection(self, tenant_id: str, name: str) -> Commit:
        """Delete a collection with all its documents, if it is there."""
        with self._transaction():
            try:
                collection = self._read.collection(tenant_id, name)
            except CollectionNotFoundError:
                return Commit(self._version())
            version = self._next_version()
            ids = self._db.execute(
                "SELECT document_id FROM documents WHERE collection = ?", (collection.row,)
            ).fetchall()
            changes = [Change(version, tenant_id, name, each, deleted=True) for (each,) in ids]
            self._note(changes)
            self._db.execute(f"DROP TABLE {words_table(collection.row)}")
            self._db.execute("DELETE FROM collections WHERE id = ?", (collection.row,))
            return Commit(version, tuple(changes), Patch(collection.row, exists=False))

    def upsert(
        self, tenant_id: str, name: str, documents: Sequence[Prepared], fingerprint: str
    ) -> Commit:
        """Store the documents that differ from what is stored, all of them or none.

        Args:
            tenant_id: whose.
            name: the collection.
            documents: with different ids.
            fingerprint: of the model that made the vectors; may be empty if there are none.

        Raises:
            CollectionNotFoundError: the collection is not there.
            FingerprintMismatchError: its other vectors are of another model.
            UnpreparedError: a document without passages is not the same any more.
        """
        with self._transaction():
            collection = self._read.collection(tenant_id, name)
            changed = self._changed(collection, documents)
            if not changed:
                return Commit(self._version())
            version, patch = self._next_version(), Patch(collection.row)
            for each in changed:
                self._remove_chunks(collection, each.document.document_id, patch)
            self._adopt(collection, changed, fingerprint)
            for each in changed:
                self._insert(collection, each, version, patch)
            ids = [each.document.document_id for each in changed]
            changes = [Change(version, tenant_id, name, each, deleted=False) for each in ids]
            self._note(changes)
            count = sum(len(rows) for rows in patch.added.values())
            return Commit(version, tuple(changes), patch, count)

    def delete(self, tenant_id: str, name: str, document_ids: Sequence[str]) -> Commit:
        """Delete those of the documents that are there.

        Raises:
            CollectionNotFoundError: the collection is not there.
        """
        with self._transaction():
            collection = self._read.collection(tenant_id, name)
            found = sorted(self._read.hashes(collection.row, document_ids))
            if not found:
                return Commit(self._version())
            version, patch = self._next_version(), Patch(collection.row)
            for each in found:
                self._remove_chunks(collection, each, patch)
                self._db.execute(
                    "DELETE FROM documents WHERE collection = ? AND document_id = ?",
                    (collection.row, each),
                )
            self._forget_model_if_empty(collection)
            changes = [Change(version, tenant_id, name, each, deleted=True) for each in found]
            self._note(changes)
            return Commit(version, tuple(changes), patch)

    def _changed(self, collection: Collection, documents: Sequence[Prepared]) -> list[Prepared]:
        ids = [each.document.document_id for each in documents]
        stored = self._read.hashes(collection.row, ids)
        changed = [
            each
            for each in documents
            if stored.get(each.document.document_id) != each.content_sha256
        ]
        if any(each.chunks is None for each in changed):
            raise UnpreparedError
        return changed

    def _adopt(self, collection: Collection, changed: Sequence[Prepared], fingerprint: str) -> None:
        """Check that the vectors are of the collection's model; an empty one takes theirs."""
        with_vectors = [each for each in changed if len(each.vectors)]
        if not with_vectors or collection.fingerprint == fingerprint:
            return
        self._forget_model_if_empty(collection)
        dimensions = with_vectors[0].vectors.shape[1]
        adopted = self._db.execute(
            "UPDATE collections SET fingerprint = ?, dimensions = ?"
            " WHERE id = ? AND fingerprint = ''",
            (fingerprint, dimensions, collection.row),
        ).rowcount
        if not adopted:
            raise FingerprintMismatchError(
                f"collection {collection.name} was embedded by model {collection.fingerprint},"
                f" documents are now embedded by {fingerprint}:"
                " store them in a new collection, or delete the old documents first",
                got=fingerprint,
                want=collection.fingerprint,
            )

    def _forget_model_if_empty(self, collection: Collection) -> None:
        self._db.execute(
            "UPDATE collections SET fingerprint = '', dimensions = 0"
            " WHERE id = ? AND NOT EXISTS (SELECT 1 FROM chunks WHERE collection = ?)",
            (collection.row, collection.row),
        )

    def _remove_chunks(self, collection: Collection, document_id: str, patch: Patch) -> None:
        rows = self._db.execute(
            "SELECT c.id, c.scope, c.document FROM chunks c JOIN documents d ON d.id = c.document"
            " WHERE d.collection = ? AND d.document_id = ?",
            (collection.row, document_id),
        ).fetchall()
        for chunk, scope, _ in rows:
            patch.removed[scope].append(chunk)
        if rows:
            document, table = rows[0][2], words_table(collection.row)
            # The full text keeps no copy of what it has indexed, so it is told what to forget.
            self._db.execute(
                f"INSERT INTO {table} ({table}, rowid, title, heading, text)"  # noqa: S608 - a number in it
                " SELECT 'delete', id, title, heading, text FROM chunks WHERE document = ?",
                (document,),
            )
            self._db.execute("DELETE FROM chunks WHERE document = ?", (document,))

    def _insert(self, collection: Collection, each: Prepared, version: int, patch: Patch) -> None:
        given, chunks = each.document, each.chunks or ()
        values = {
            "collection": collection.row,
            "document_id": given.document_id,
            "version": version,
            "content_sha256": each.content_sha256,
            "passage_count": len(chunks),
            "updated_at_us": round(self._now() * _MICROS),
            "title": given.title,
            "format": int(given.format),
            "metadata": json.dumps(dict(given.metadata), ensure_ascii=False),
            "uri": given.uri,
            "scope": given.scope,
            "unsplit": int(given.unsplit),
            "text": given.text,
        }
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        updates = ", ".join(f"{name} = excluded.{name}" for name in values)
        (document,) = self._db.execute(
            f"INSERT INTO documents ({names}) VALUES ({marks})"  # noqa: S608 - names from above
            f" ON CONFLICT (collection, document_id) DO UPDATE SET {updates} RETURNING id",
            values,
        ).fetchone()
        self._db.execute("DELETE FROM labels WHERE document = ?", (document,))
        self._db.executemany(
            "INSERT INTO labels (collection, key, value, document) VALUES (?, ?, ?, ?)",
            [(collection.row, *label, document) for label in given.metadata.items()],
        )
        for ordinal, (chunk, vector) in enumerate(zip(chunks, each.vectors, strict=True)):
            row = self._insert_chunk(collection, document, given, chunk, ordinal, vector)
            patch.added[given.scope].append((row, vector))

    def _insert_chunk(
        self,
        collection: Collection,
        document: int,
        given: Document,
        chunk: Chunk,
        ordinal: int,
        vector: NDArray[np.float32],
    ) -> int:
        words = given.title, chunk.heading, given.text[chunk.start : chunk.end]
        row = self._db.execute(
            "INSERT INTO chunks (collection, document, scope, ordinal, start_offset, end_offset,"
            " title, heading, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (collection.row, document, given.scope, ordinal, chunk.start, chunk.end, *words),
        ).lastrowid
        assert row is not None  # noqa: S101 - an INSERT has one; for the type checker
        self._db.execute(
            f"INSERT INTO {words_table(collection.row)} (rowid, title, heading, text)"  # noqa: S608 - a number in it
            " VALUES (?, ?, ?, ?)",
            (row, *words),
        )
        self._db.execute("INSERT INTO vectors VALUES (?, ?)", (row, vector.astype("<f4").tobytes()))
        return row

    def _note(self, changes: Sequence[Change]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO changes (version, tenant_id, collection, document_id, deleted)"
            " VALUES (?, ?, ?, ?, ?)",
            [
                (c.version, c.tenant_id, c.collection, c.document_id, int(c.deleted))
                for c in changes
            ],
        )

    def _version(self) -> int:
        self._read.look()
        return self._read.version

    def _next_version(self) -> int:
        sql = "UPDATE store SET index_version = index_version + 1 RETURNING index_version"
        (version,) = self._db.execute(sql).fetchone()
        return int(version)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what is done inside, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
