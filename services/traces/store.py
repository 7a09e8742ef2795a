"""Spans in one SQLite file: appended in batches, found by trace, listed by root."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from libs.errors import InvalidFieldError, TraceNotFoundError
from libs.values.traces import Span, TraceOrder
from services.traces.visibility import visible

# The file's name carries the schema's version, so a new one starts its own file.
FILE_NAME = "traces-1.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS span (
  trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_span_id TEXT NOT NULL,
  name TEXT NOT NULL, service TEXT NOT NULL, start_ns INTEGER NOT NULL,
  duration_ns INTEGER NOT NULL, status TEXT NOT NULL, kind TEXT NOT NULL,
  attributes TEXT NOT NULL, UNIQUE (trace_id, span_id)
) STRICT;
CREATE TABLE IF NOT EXISTS trace (
  trace_id TEXT PRIMARY KEY, root_span_id TEXT NOT NULL, root_name TEXT NOT NULL,
  root_tenant_id TEXT NOT NULL, start_ns INTEGER NOT NULL, duration_ns INTEGER NOT NULL,
  is_true_root INTEGER NOT NULL, touched_s REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS trace_touched ON trace (touched_s);
CREATE INDEX IF NOT EXISTS trace_start ON trace (start_ns);
CREATE INDEX IF NOT EXISTS trace_duration ON trace (duration_ns);
CREATE TABLE IF NOT EXISTS tenant (
  trace_id TEXT NOT NULL, tenant_id TEXT NOT NULL, PRIMARY KEY (trace_id, tenant_id)
) STRICT, WITHOUT ROWID;
"""
_COLUMNS = (
    "trace_id, span_id, parent_span_id, name, service, start_ns, duration_ns, status, kind,"
    " attributes"
)
_ADD_SPAN = f"INSERT OR IGNORE INTO span ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants only
# A span without a parent is the root, whenever it arrives; else the earliest span stands for it.
_ADD_ROOT = """
INSERT INTO trace VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (trace_id) DO UPDATE SET
  root_span_id = excluded.root_span_id, root_name = excluded.root_name,
  root_tenant_id = excluded.root_tenant_id, start_ns = excluded.start_ns,
  duration_ns = excluded.duration_ns, is_true_root = excluded.is_true_root
WHERE (excluded.is_true_root, start_ns) > (is_true_root, excluded.start_ns)
"""
_OLDEST = "SELECT trace_id FROM trace WHERE touched_s < ? ORDER BY touched_s LIMIT ?"
_SWEEP_TRACES = 20


class SpanStore:
    """Every span that was received, until it is too old or too many are younger.

    Methods block; each may be called from any thread.
    """

    def __init__(self, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self._writer = writer
        self._reader = reader
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._span_count: int = writer.execute("SELECT count(*) FROM span").fetchone()[0]

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open the store of a directory, or make a new one there."""
        directory.mkdir(parents=True, exist_ok=True)
        writer = _connect(directory / FILE_NAME)
        writer.executescript(_SCHEMA)
        reader = _connect(directory / FILE_NAME)
        reader.execute("PRAGMA query_only = ON")
        return cls(writer, reader)

    def close(self) -> None:
        """Close the file, after what is running."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    @property
    def span_count(self) -> int:
        """How many spans are stored."""
        return self._span_count

    def add(self, spans: Sequence[Span], now_s: float) -> None:
        """Store spans in one transaction; one that is stored already stays as it was.

        Args:
            spans: of any traces, in any order.
            now_s: seconds of the Unix epoch at which they were received.
        """
        touched = [(now_s, trace_id) for trace_id in {span.trace_id for span in spans}]
        tenants = {(span.trace_id, span.tenant_id) for span in spans if span.tenant_id}
        with self._write_lock, self._writer as transaction:
            added = transaction.executemany(_ADD_SPAN, map(_row, spans))
            transaction.executemany(_ADD_ROOT, _roots(spans, now_s))
            transaction.executemany("UPDATE trace SET touched_s = ? WHERE trace_id = ?", touched)
            transaction.executemany("INSERT OR IGNORE INTO tenant VALUES (?, ?)", tenants)
            self._span_count += added.rowcount

    def sweep(self, oldest_s: float, max_spans: int) -> int:
        """Delete traces last written before `oldest_s`, and the oldest beyond `max_spans`.

        Returns:
            The number of spans deleted.
        """
        before = self._span_count
        while self._delete(oldest_s):
            pass
        while self._span_count > max_spans and self._delete(float("inf")):
            pass
        return before - self._span_count

    def spans(self, prefix: str, tenants: frozenset[str] | None) -> list[Span]:
        """Return the visible spans of the one trace whose id starts so, by start.

        Args:
            prefix: hex digits in lower case.
            tenants: whose spans may be seen; None means everyone's.

        Raises:
            TraceNotFoundError: no visible trace starts so.
            InvalidFieldError: more than one does.
        """
        condition, values = _names_one_of(tenants)
        found = self._fetch(
            f"SELECT trace_id FROM trace WHERE trace_id >= ? AND trace_id < ? AND {condition}"  # noqa: S608 - constants only
            " LIMIT 2",
            [prefix, prefix + "g", *values],
        )
        if not found:
            raise TraceNotFoundError(f"no trace starts with {prefix}", trace_id=prefix)
        if len(found) > 1:
            raise InvalidFieldError("trace_id", "must name one trace alone; more digits are needed")
        rows = self._fetch(
            f"SELECT {_COLUMNS} FROM span WHERE trace_id = ? ORDER BY start_ns, rowid",  # noqa: S608 - constants only
            [found[0][0]],
        )
        return visible([_span(row) for row in rows], tenants)

    def roots(
        self,
        tenants: frozenset[str] | None,
        *,
        order: TraceOrder,
        limit: int,
        name: str,
        settled_s: float,
    ) -> list[Span]:
        """Return the root spans of visible traces.

        Args:
            tenants: whose traces may be seen; None means everyone's.
            order: which come first.
            limit: how many at most.
            name: only roots of this name; empty means any.
            settled_s: a trace that got no span since then, in seconds of the Unix epoch, and
                has no span without a parent, is listed by its earliest span.
        """
        condition, values = _root_belongs_to(tenants)
        by = "duration_ns" if order is TraceOrder.SLOWEST else "start_ns"
        columns = ", ".join(f"span.{column}" for column in _COLUMNS.split(", "))
        rows = self._fetch(
            f"SELECT {columns} FROM trace JOIN span ON span.trace_id = trace.trace_id"  # noqa: S608 - constants only
            f" AND span.span_id = root_span_id WHERE {condition} AND (? = '' OR root_name = ?)"
            f" AND (is_true_root OR touched_s <= ?) ORDER BY trace.{by} DESC LIMIT ?",
            [*values, name, name, settled_s, limit],
        )
        return [_span(row) for row in rows]

    def _delete(self, before_s: float) -> int:
        # A few traces at a time, so that spans that arrive meanwhile do not wait for long.
        with self._write_lock, self._writer as transaction:
            oldest = transaction.execute(_OLDEST, (before_s, _SWEEP_TRACES)).fetchall()
            gone = transaction.executemany("DELETE FROM span WHERE trace_id = ?", oldest)
            transaction.executemany("DELETE FROM tenant WHERE trace_id = ?", oldest)
            transaction.executemany("DELETE FROM trace WHERE trace_id = ?", oldest)
            self._span_count -= max(0, gone.rowcount)
        return len(oldest)

    def _fetch(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._read_lock, closing(self._reader.execute(query, values)) as cursor:
            return cursor.fetchall()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    # WAL with NORMAL survives the death of the process; only a power cut may cost the last spans.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


_NAMED = "SELECT 1 FROM tenant WHERE tenant.trace_id = trace.trace_id"


def _names_one_of(tenants: frozenset[str] | None) -> tuple[str, list[str]]:
    """Return the condition that a trace speaks of one of the tenants, and its values."""
    if tenants is None:
        return "TRUE", []
    return f"EXISTS ({_NAMED} AND tenant_id IN ({_marks(tenants)}))", [*tenants]


def _root_belongs_to(tenants: frozenset[str] | None) -> tuple[str, list[str]]:
    """Return the condition that a trace's root is one of theirs, and its values."""
    named, values = _names_one_of(tenants)
    if tenants is None:
        return named, values
    marks = _marks(tenants)
    alone = f"NOT EXISTS ({_NAMED} AND tenant_id NOT IN ({marks}))"
    return f"{named} AND (root_tenant_id IN ({marks}) OR {alone})", [*tenants] * 3


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))


def _row(span: Span) -> tuple[object, ...]:
    return (
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.name,
        span.service,
        span.start_ns,
        span.duration_ns,
        span.status,
        span.kind,
        json.dumps(span.attributes, separators=(",", ":")),
    )


def _span(row: tuple[Any, ...]) -> Span:
    return Span(*(*row[:-1], json.loads(row[-1])))


def _roots(spans: Sequence[Span], now_s: float) -> list[tuple[object, ...]]:
    """Return a row for each trace, with the span that stands for its root."""
    best: dict[str, Span] = {}
    for span in spans:
        other = best.get(span.trace_id)
        if other is None or _rank(span) < _rank(other):
            best[span.trace_id] = span
    return [
        (
            span.trace_id,
            span.span_id,
            span.name,
            span.tenant_id,
            span.start_ns,
            span.duration_ns,
            int(not span.parent_span_id),
            now_s,
        )
        for span in best.values()
    ]


def _rank(span: Span) -> tuple[bool, int]:
    return bool(span.parent_span_id), span.start_ns
