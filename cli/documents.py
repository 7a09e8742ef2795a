"""Files as documents: folders, patterns and single files, in all formats that are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from libs.reading import (
    SUFFIXES,
    Found,
    Unreadable,
    UnreadableError,
    check_size,
    format_of,
    read_file,
    read_rows,
)
from libs.reading.files import ROWS
from libs.values.retrieval import Document

_PATTERN_MARKS = frozenset("*?[")


def read_documents(paths: Iterable[Path]) -> Iterator[Document | Unreadable]:
    """Yield every document below the paths, and what could not be read; never raises.

    Folders are walked for files of known formats, leaving out hidden ones; a file that is named
    is read whatever it is called, as plain text if nothing says better. A path that is not there
    and holds `*`, `?` or `[` is a pattern; `**` matches any number of folders. A document's id is
    its path below the folder that was given, or below that which the pattern begins with, or the
    file's name; a row of JSON lines may give its own.
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
    if root.is_dir():
        yield from _walked(root)
    elif _PATTERN_MARKS.intersection(str(root)) and not root.exists():
        yield from _matching(root)
    else:
        yield root, root.name


def _walked(root: Path) -> Iterator[tuple[Path, str | Unreadable]]:
    problems: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=problems.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES:
                yield path, path.relative_to(root).as_posix()
    for problem in problems:
        where = _shown(Path(problem.filename))
        yield root, Unreadable(where, f"cannot be read: {problem.strerror}")


def _matching(pattern: Path) -> Iterator[tuple[Path, str | Unreadable]]:
    """Yield the files that a pattern matches, named from its first folder without marks on."""
    parts = pattern.parts
    first = next(at for at, part in enumerate(parts) if _PATTERN_MARKS.intersection(part))
    start = Path(*parts[:first])
    try:
        found = sorted(path for path in start.glob("/".join(parts[first:])) if path.is_file())
    except (OSError, ValueError) as error:
        yield pattern, Unreadable(_shown(pattern), f"is no pattern: {error}")
        return
    for path in found:
        yield path, path.relative_to(start).as_posix()
    if not found:
        yield pattern, Unreadable(_shown(pattern), "matches no file")


def _read(path: Path, name: str) -> Iterator[Found]:
    """Yield the documents of a file, each with where it stands."""
    where = str(path)
    try:
        if format_of(name) == ROWS:
            # Line by line: such files may be larger than memory.
            with path.open("rb") as lines:
                yield from read_rows(lines, name, where)
            return
        check_size(format_of(name), path.stat().st_size)
        yield from read_file(name, path.read_bytes(), where=where)
    except UnreadableError as error:
        yield where, Unreadable(where, str(error))
    except OSError as error:
        yield where, Unreadable(where, f"cannot be read: {error.strerror}")


def _shown(path: Path) -> str:
    """Return a path that can be printed, whatever bytes are in it."""
    return os.fsencode(path).decode(errors="replace")
