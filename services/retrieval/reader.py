"""What is read from the store; every method sees the one moment its snapshot began."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from libs.errors import CollectionNotFoundError, DocumentNotFoundError
from libs.values import Filter, Passage
from libs.values.retrieval import Change, Document, DocumentState, StoredDocument, TextFormat
from services.retrieval.schema import words_table
from services.retrieval.words import expression, rarest, words_of

_STATE = "document_id, title, version, content_sha256, passage_count, updated_at_us, scope"
_MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection; without documents it has no fingerprint and no dimensions."""

    row: int
    name: str
    created_version: int
    fingerprint: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Where:
    """Which passages of a collection may be found.

    Attributes:
        collection: row of the collection.
        scope: passages without a scope and those of this one.
        filters: conditions on the document's metadata.
    """

    collection: int
    scope: str = ""
    filters: tuple[Filter, ...] = ()

    def condition(self) -> tuple[str, list[object]]:
        """Return what must hold of a row `c` of `chunks` found otherwise, and its values."""
        # The plus keeps SQLite from looking for rows by this instead.
        sql = "+c.collection = ? AND c.scope IN ('', ?)"
        values: list[object] = [self.collection, self.scope]
        for each in self.filters:
            sql += (
                " AND EXISTS (SELECT 1 FROM labels l WHERE l.document = c.document"  # noqa: S608 - only marks are put in
                f" AND l.collection = ? AND l.key = ? AND l.value IN ({_marks(each.any_of)}))"
            )
            values += [self.collection, each.key, *each.any_of]
        return sql, values


@dataclass(frozen=True, slots=True)
class ByWords:
    """What the words of a question find.

    Attributes:
        ranking: ids and BM25, best first.
        counts: the number of passages that have each word of the question.
    """

    ranking: Sequence[tuple[int, float]]
    counts: Mapping[str, int]


class Reader:
    """Reads over one connection, inside a transaction.

    Attributes:
        store_id: name of the store.
        version: the version that is seen since `begin`.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.store_id = ""
        self.version = 0

    def begin(self) -> None:
        """See the store as it is now."""
        self.end()
        self._db.execute("BEGIN")
        self.look()

    def look(self) -> None:
        """Note which version is seen."""
        self.store_id, self.version = self._db.execute("SELECT * FROM store").fetchone()

    def end(self) -> None:
        """See nothing any more."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def collection(self, tenant_id: str, name: str) -> Collection:
        """Return a collection.

        Raises:
            CollectionNotFoundError: the tenant has none of that name.
        """
        found = self._db.execute(
            "SELECT id, name, created_version, fingerprint, dimensions"
            " FROM collections WHERE tenant_id = ? AND name = ?",
            (tenant_id, name),
        ).fetchone()
        if found is None:
            message = f"tenant {tenant_id} has no collection {name}"
            raise CollectionNotFoundError(message, tenant_id=tenant_id, collection=name)
        return Collection(*found)

    def collections(self) -> list[Collection]:
        """Return all collections of all tenants."""
        sql = "SELECT id, name, created_version, fingerprint, dimensions FROM collections"
        return [Collection(*row) for row in self._db.execute(sql)]

    def vectors(
        self, collection: Collection
    ) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float32]]]:
        """Yield each scope of a collection with its passages' ids and vectors."""
        scopes = self._db.execute(
            "SELECT scope, count(*) FROM chunks WHERE collection = ? GROUP BY scope",
            (collection.row,),
        ).fetchall()
        for scope, count in scopes:
            ids = np.empty(count, np.int64)
            matrix = np.empty((count, collection.dimensions), np.float32)
            rows = self._db.execute(
                "SELECT c.id, v.vector FROM chunks c JOIN vectors v ON v.chunk = c.id"
                " WHERE c.collection = ? AND c.scope = ? ORDER BY c.id",
                (collection.row, scope),
            )
            for at, (chunk, vector) in enumerate(rows):
                ids[at], matrix[at] = chunk, np.frombuffer(vector, "<f4")
            yield scope, ids, matrix

    def allowed(self, where: Where) -> NDArray[np.int64]:
        """Return the ids of all passages that the filters, at least one, leave."""
        first = where.filters[0]
        condition, values = where.condition()
        rows = self._db.execute(
            # From the labels to the passages: few documents are left when this is asked.
            "SELECT c.id FROM labels f CROSS JOIN chunks c ON c.document = f.document"  # noqa: S608 - only marks are put in
            f" WHERE f.collection = ? AND f.key = ? AND f.value IN ({_marks(first.any_of)})"
            f" AND {condition}",
            [where.collection, first.key, *first.any_of, *values],
        )
        return np.fromiter((chunk for (chunk,) in rows), np.int64)

    def kept(self, where: Where, ranking: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
        """Return those of a ranking that may be found."""
        condition, values = where.condition()
        rows = self._db.execute(
            f"SELECT c.id FROM chunks c WHERE c.id IN ({_marks(ranking)}) AND {condition}",  # noqa: S608 - as above
            [*(chunk for chunk, _ in ranking), *values],
        )
        found = {chunk for (chunk,) in rows}
        return [each for each in ranking if each[0] in found]

    def by_words(self, where: Where, question: str, limit: int) -> ByWords:
        """Return up to `limit` passages with words of the question."""
        table = words_table(where.collection)
        counts = {word: self._count(table, word) for word in words_of(question)}
        words = rarest(list(counts), counts.__getitem__)
        if not words:
            return ByWords((), counts)
        condition, values = where.condition()
        rows = self._db.execute(
            f"SELECT c.id, -w.rank FROM {table} w JOIN chunks c ON c.id = w.rowid"  # noqa: S608 - as above
            f" WHERE {table} MATCH ? AND {condition} ORDER BY w.rank LIMIT ?",
            [expression(words), *values, limit],
        )
        return ByWords(rows.fetchall(), counts)

    def cosines(self, chunks: Sequence[int], vector: NDArray[np.float32]) -> dict[int, float]:
        """Return the cosine of each passage with a vector."""
        rows = self._db.execute(
            f"SELECT chunk, vector FROM vectors WHERE chunk IN ({_marks(chunks)})",  # noqa: S608 - as above
            chunks,
        )
        return {chunk: float(np.frombuffer(each, "<f4") @ vector) for chunk, each in rows}

    def passages(self, where: Where, ranked: Sequence[tuple[int, float]]) -> tuple[Passage, ...]:
        """Return passages with the scores given, in the order given; as `found`."""
        return tuple(self.found(where, ranked).values())

    def found(self, where: Where, ranked: Sequence[tuple[int, float]]) -> dict[int, Passage]:
        """Return passages by their ids with the scores given, in the order given.

        Each is checked again here: one that may not be found is left out, whatever an
        index says.
        """
        condition, values = where.condition()
        rows = self._db.execute(
            "SELECT c.id, d.document_id, d.version, c.ordinal, c.title, c.heading, c.text,"  # noqa: S608 - as above
            " c.start_offset, c.end_offset, d.uri"
            " FROM chunks c JOIN documents d ON d.id = c.document"
            f" WHERE c.id IN ({_marks(ranked)}) AND {condition}",
            [*(chunk for chunk, _ in ranked), *values],
        )
        found = {row[0]: row[1:] for row in rows}
        return {c: _passage(found[c], score) for c, score in ranked if c in found}

    def hashes(self, collection: int, document_ids: Sequence[str]) -> dict[str, str]:
        """Return the content hashes of those documents that are stored."""
        rows = self._db.execute(
            "SELECT document_id, content_sha256 FROM documents"  # noqa: S608 - as above
            f" WHERE collection = ? AND document_id IN ({_marks(document_ids)})",
            [collection, *document_ids],
        )
        return dict(rows.fetchall())

    def document(self, collection: int, document_id: str) -> StoredDocument:
        """Return one document, whole.

        Raises:
            DocumentNotFoundError: the collection has none of that id.
        """
        found = self._db.execute(
            f"SELECT text, format, title, metadata, uri, scope, unsplit, {_STATE}"  # noqa: S608 - as above
            " FROM documents WHERE collection = ? AND document_id = ?",
            (collection, document_id),
        ).fetchone()
        if found is None:
            message = f"the collection has no document {document_id!r}"
            raise DocumentNotFoundError(message, document_id=document_id)
        text, format_, title, metadata, uri, scope, unsplit, *state = found
        labels = json.loads(metadata)
        kind = TextFormat(format_)
        given = Document(document_id, text, kind, title, labels, uri, scope, bool(unsplit))
        return StoredDocument(given, _state(state))

    def states(self, collection: int, after: str, limit: int) -> list[DocumentState]:
        """Return up to `limit` documents with ids greater than `after`."""
        rows = self._db.execute(
            f"SELECT {_STATE} FROM documents WHERE collection = ? AND document_id > ?"  # noqa: S608 - as above
            " ORDER BY document_id LIMIT ?",
            (collection, after, limit),
        )
        return [_state(row) for row in rows]

    def changes(self, tenant_id: str, after: Change, limit: int) -> list[Change]:
        """Return the changes that follow `after` in the order of versions and names.

        Args:
            tenant_id: whose changes; `*` is every tenant's.
            after: the last change known, or one that none comes before.
            limit: how many at most.
        """
        rows = self._db.execute(
            "SELECT version, tenant_id, collection, document_id, deleted FROM changes"
            " WHERE (version, tenant_id, collection, document_id) > (?, ?, ?, ?)"
            " AND ? IN ('*', tenant_id)"
            " ORDER BY version, tenant_id, collection, document_id LIMIT ?",
            (
                after.version,
                after.tenant_id,
                after.collection,
                after.document_id,
                tenant_id,
                limit,
            ),
        )
        return [_change(row) for row in rows]

    def _count(self, table: str, word: str) -> int:
        sql = f"SELECT count(*) FROM {table} WHERE {table} MATCH ?"  # noqa: S608 - as above
        (count,) = self._db.execute(sql, (expression([word]),)).fetchone()
        return int(count)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _passage(row: Sequence[Any], score: float) -> Passage:
    document_id, version, ordinal, title, heading, text, start, end, uri = row
    name = f"{document_id}@{version}#{ordinal}"
    return Passage(name, document_id, version, title, heading, text, start, end, uri, score)


def _change(row: Sequence[Any]) -> Change:
    version, tenant_id, collection, document_id, deleted = row
    return Change(version, tenant_id, collection, document_id, bool(deleted))


def _state(row: Sequence[Any]) -> DocumentState:
    document_id, title, version, content_sha256, passage_count, updated_at_us, scope = row
    updated_at_s = updated_at_us / _MICROS
    return DocumentState(
        document_id, title, version, content_sha256, passage_count, updated_at_s, scope
    )
