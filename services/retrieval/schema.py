"""The SQLite file: its tables, and how a connection to it is opened."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import uuid
from pathlib import Path

from libs.config import ConfigError

FILE_NAME = "documents.sqlite3"
SCHEMA_VERSION = 1
_CACHE_KIB = 32_768
# A WAL that a long read made large is cut back to this once it has been copied.
_WAL_LIMIT_BYTES = 64 * 1024 * 1024

_TABLES = """
CREATE TABLE store (
  store_id TEXT NOT NULL,
  index_version INTEGER NOT NULL
) STRICT;
CREATE TABLE collections (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant_id TEXT NOT NULL,
  name TEXT NOT NULL,
  created_version INTEGER NOT NULL,
  fingerprint TEXT NOT NULL DEFAULT '',
  dimensions INTEGER NOT NULL DEFAULT 0,
  UNIQUE (tenant_id, name)
) STRICT;
CREATE TABLE documents (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  collection INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE,
  document_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  content_sha256 TEXT NOT NULL,
  passage_count INTEGER NOT NULL,
  updated_at_us INTEGER NOT NULL,
  title TEXT NOT NULL,
  format INTEGER NOT NULL,
  metadata TEXT NOT NULL,
  uri TEXT NOT NULL,
  scope TEXT NOT NULL,
  unsplit INTEGER NOT NULL,
  text TEXT NOT NULL,
  UNIQUE (collection, document_id)
) STRICT;
CREATE TABLE labels (
  collection INTEGER NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
  PRIMARY KEY (collection, key, value, document)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_of_document ON labels (document);
CREATE TABLE chunks (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  collection INTEGER NOT NULL,
  document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
  scope TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  start_offset INTEGER NOT NULL,
  end_offset INTEGER NOT NULL,
  title TEXT NOT NULL,
  heading TEXT NOT NULL,
  text TEXT NOT NULL
) STRICT;
CREATE INDEX chunks_of_document ON chunks (document, collection, scope);
CREATE INDEX chunks_of_collection ON chunks (collection, scope, document);
CREATE TABLE vectors (
  chunk INTEGER PRIMARY KEY REFERENCES chunks ON DELETE CASCADE,
  vector BLOB NOT NULL
) STRICT;
CREATE TABLE changes (
  tenant_id TEXT NOT NULL,
  collection TEXT NOT NULL,
  document_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, collection, document_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX changes_by_version ON changes (version, tenant_id, collection, document_id);
"""


def words_table(collection: int) -> str:
    """Return the name of a collection's full-text table.

    Each collection has its own, so that no tenant's words weigh in another's ranking and a
    search costs what its own collection costs.
    """
    return f"words_{collection:d}"


def lock(directory: Path) -> int:
    """Take the directory for this process; it stays taken until the descriptor is closed.

    Raises:
        ConfigError: another process has it; two would not see each other's vectors.
    """
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigError(f"{directory}: another retrieval service has this store") from error
    return descriptor


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the one connection that writes, and make the tables of a new store.

    Raises:
        ConfigError: the file is no store, or one of another version.
    """
    try:
        connection = _open(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        _prepare(connection, path)
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{path}: cannot be opened as a store: {error}") from error
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that only reads; the store exists already."""
    connection = _open(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _open(path: Path) -> sqlite3.Connection:
    # One thread at a time uses a connection, but not always the same one.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found == SCHEMA_VERSION:
        return
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if found or tables:
        raise ConfigError(f"{path}: schema version is {found}, this program reads {SCHEMA_VERSION}")
    # The version is written with the tables: a crash leaves either all of it or nothing.
    connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA_VERSION};")
    connection.execute("INSERT INTO store VALUES (?, 0)", (uuid.uuid4().hex,))
    connection.execute("COMMIT")
