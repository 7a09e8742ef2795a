"""JSON lines: each line a document."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from libs.reading.found import MAX_CHARACTERS, Found, Unreadable, UnreadableError, too_long
from libs.reading.text import decoded
from libs.values.retrieval import Document, TextFormat

_FORMATS = {"plain": TextFormat.PLAIN, "markdown": TextFormat.MARKDOWN}


def read_rows(lines: Iterable[bytes], name: str, where: str) -> Iterator[Found]:
    """Yield the documents of a file's lines; never raises.

    Args:
        lines: its lines; blank ones are left out.
        name: what a row's id begins with that gives none of its own.
        where: the file, as it is shown.
    """
    is_empty = True
    for number, line in enumerate(lines, start=1):
        place = f"{where}:{number}"
        try:
            text = decoded(line)
            if text.strip():
                is_empty = False
                yield place, _document(_parsed(text), f"{name}:{number}")
        except UnreadableError as error:
            is_empty = False
            yield place, Unreadable(place, str(error))
    if is_empty:
        yield where, Unreadable(where, "is empty")


def _parsed(line: str) -> Any:
    try:
        return json.loads(line.strip())
    except json.JSONDecodeError as error:
        raise UnreadableError(f"is not JSON: {error.msg} at column {error.colno}") from error
    except (RecursionError, ValueError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UnreadableError(f"is not JSON: {problem}") from error


def _document(row: Any, name: str) -> Document:
    if not isinstance(row, dict):
        raise UnreadableError("is not an object")
    text = _string(row, "text")
    if not text.strip():
        raise UnreadableError("has no text")
    if len(text) > MAX_CHARACTERS:
        raise too_long(f"{len(text)} characters")
    known = _FORMATS.get(_string(row, "format", "plain"))
    if known is None:
        raise UnreadableError("has a format that is neither plain nor markdown")
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
        raise UnreadableError(f"has a {key} that is not a string")
    if not value.isascii():
        # JSON can spell half a character, which no wire carries.
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UnreadableError(f"has half a character in its {key}") from error
    return value


def _labels(row: Mapping[str, Any]) -> dict[str, str]:
    given = row.get("metadata") or {}
    if not isinstance(given, dict):
        raise UnreadableError("has metadata that is not an object")
    labels = {}
    for key, value in given.items():
        plain = json.dumps(value) if isinstance(value, (bool, int, float)) else value
        labels[_string({"metadata": key}, "metadata")] = _string({"metadata": plain}, "metadata")
    return labels
