"""Files as documents: Markdown, plain text and JSON lines."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libs.values.retrieval import Document, TextFormat

MAX_CHARACTERS = 2_000_000
# UTF-8 takes at most four bytes a character: a larger file need not be read to be refused.
_MAX_BYTES = 4 * MAX_CHARACTERS
_MARKDOWN = frozenset({".md", ".markdown"})
_PLAIN = frozenset({".txt", ".rst"})
_LINES = frozenset({".jsonl"})
_HEADING = re.compile(r"^ {0,3}# +(?P<title>.+?)[ #]*$", re.MULTILINE)
_MAX_TITLE = 512
_FORMATS = {"plain": TextFormat.PLAIN, "markdown": TextFormat.MARKDOWN}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file, or a line of one, that is no document; `reason` completes "it ..."."""

    path: str
    reason: str


def read_documents(paths: Iterable[Path]) -> Iterator[Document | Unreadable]:
    """Yield every document below the paths, and what could not be read; never raises.

    Folders are walked for Markdown, text and JSON lines, leaving out hidden ones; a file that
    is named is read whatever it is called. A document's id is its path below the folder that
    was given, or the file's name; a row of JSON lines may give its own.
    """
    origins: dict[str, str] = {}
    for root in paths:
        for path, name in _files(root):
            if isinstance(name, Unreadable):
                yield name
                continue
            if _shown(path) != str(path):
                yield Unreadable(_shown(path), "has a name that is not UTF-8")
                continue
            for where, found in _read(path, name):
                yield _first(found, where, origins)


def _first(
    found: Document | Unreadable, where: str, origins: dict[str, str]
) -> Document | Unreadable:
    """Return `found` unless another document has its id, which it would silently replace."""
    if isinstance(found, Unreadable):
        return found
    if found.document_id in origins:
        origin = origins[found.document_id]
        return Unreadable(where, f"has the id {found.document_id!r}, as {origin} has")
    origins[found.document_id] = where
    return found


def _files(root: Path) -> Iterator[tuple[Path, str | Unreadable]]:
    if not root.is_dir():
        yield root, root.name
        return
    problems: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=problems.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            kinds = _MARKDOWN | _PLAIN | _LINES
            if not name.startswith(".") and path.suffix.lower() in kinds:
                yield path, path.relative_to(root).as_posix()
    for problem in problems:
        where = _shown(Path(problem.filename))
        yield root, Unreadable(where, f"cannot be read: {problem.strerror}")


def _read(path: Path, name: str) -> Iterator[tuple[str, Document | Unreadable]]:
    """Yield the documents of a file, each with where it stands."""
    where = str(path)
    try:
        if path.suffix.lower() in _LINES:
            yield from _rows(path, name)
        elif (size := path.stat().st_size) > _MAX_BYTES:
            yield where, _too_long(where, f"{size} bytes")
        else:
            yield where, _whole(path, name)
    except OSError as error:
        yield where, Unreadable(where, f"cannot be read: {error.strerror}")


def _whole(path: Path, name: str) -> Document | Unreadable:
    text = _decoded(path.read_bytes(), str(path))
    if isinstance(text, Unreadable):
        return text
    if not text.strip():
        return Unreadable(str(path), "is empty")
    if len(text) > MAX_CHARACTERS:
        return _too_long(str(path), f"{len(text)} characters")
    if path.suffix.lower() in _MARKDOWN:
        return Document(name, text, TextFormat.MARKDOWN, _title(text) or path.stem, uri=name)
    return Document(name, text, TextFormat.PLAIN, path.stem, uri=name)


def _rows(path: Path, name: str) -> Iterator[tuple[str, Document | Unreadable]]:
    with path.open("rb") as lines:
        number = 0
        for number, line in enumerate(lines, start=1):
            where = f"{path}:{number}"
            text = _decoded(line, where)
            if isinstance(text, Unreadable):
                yield where, text
            elif text.strip():
                yield where, _row(text, f"{name}:{number}", where)
        if not number:
            yield str(path), Unreadable(str(path), "is empty")


def _row(line: str, name: str, where: str) -> Document | Unreadable:
    try:
        return _document(json.loads(line.strip()), name, where)
    except json.JSONDecodeError as error:
        return Unreadable(where, f"is not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return Unreadable(where, "is not JSON: nested too deeply")
    except _RowError as error:
        return Unreadable(where, str(error))


class _RowError(ValueError):
    """A row that is JSON, but no document."""


def _document(row: Any, name: str, where: str) -> Document | Unreadable:
    if not isinstance(row, dict):
        raise _RowError("is not an object")
    text = _string(row, "text")
    if not text.strip():
        raise _RowError("has no text")
    if len(text) > MAX_CHARACTERS:
        return _too_long(where, f"{len(text)} characters")
    known = _FORMATS.get(_string(row, "format", "plain"))
    if known is None:
        raise _RowError("has a format that is neither plain nor markdown")
    return Document(
        _string(row, "id") or name,
        text,
        known,
        _string(row, "title"),
        _labels(row),
        _string(row, "uri"),
        _string(row, "scope"),
        row.get("unsplit") is True,
    )


def _string(row: Mapping[str, Any], key: str, default: str = "") -> str:
    value = row.get(key)
    if value is None:
        return default
    if key == "id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _RowError(f"has a {key} that is not a string")
    if not value.isascii():
        # JSON can spell half a character, which no wire carries.
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise _RowError(f"has half a character in its {key}") from error
    return value


def _labels(row: Mapping[str, Any]) -> dict[str, str]:
    given = row.get("metadata") or {}
    if not isinstance(given, dict):
        raise _RowError("has metadata that is not an object")
    labels = {}
    for key, value in given.items():
        plain = json.dumps(value) if isinstance(value, (bool, int, float)) else value
        labels[_string({"metadata": key}, "metadata")] = _string({"metadata": plain}, "metadata")
    return labels


def _title(text: str) -> str:
    found = _HEADING.search(text.partition("```")[0])
    return found["title"].strip()[:_MAX_TITLE] if found else ""


def _decoded(data: bytes, where: str) -> str | Unreadable:
    if b"\0" in data[:8192]:
        return Unreadable(where, "is binary")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Unreadable(where, f"is not UTF-8 at byte {error.start}")


def _shown(path: Path) -> str:
    """Return a path that can be printed, whatever bytes are in it."""
    return os.fsencode(path).decode(errors="replace")


def _too_long(where: str, size: str) -> Unreadable:
    return Unreadable(where, f"has {size}, more than {MAX_CHARACTERS} characters")
