"""A file's bytes as documents, by its format."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath

from libs.reading.found import (
    MAX_BYTES,
    MAX_CHARACTERS,
    Found,
    Unreadable,
    UnreadableError,
    too_long,
)
from libs.reading.html import read_html
from libs.reading.pdf import is_pdf, read_pdf
from libs.reading.rows import read_rows
from libs.reading.text import decoded, title_of
from libs.values.retrieval import Document, TextFormat

PLAIN, MARKDOWN, ROWS, HTML, PDF = "plain", "markdown", "rows", "html", "pdf"
SUFFIXES: Mapping[str, str] = {
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".txt": PLAIN,
    ".rst": PLAIN,
    ".jsonl": ROWS,
    ".ndjson": ROWS,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".pdf": PDF,
}
"""The formats of the files that a folder is searched for, by the ends of their names."""

_MEDIA_TYPES: Mapping[str, str] = {
    "text/plain": PLAIN,
    "text/x-rst": PLAIN,
    "text/markdown": MARKDOWN,
    "text/x-markdown": MARKDOWN,
    "application/jsonl": ROWS,
    "application/x-ndjson": ROWS,
    "application/x-jsonlines": ROWS,
    "text/html": HTML,
    "application/xhtml+xml": HTML,
    "application/pdf": PDF,
}
# UTF-8 takes at most four bytes a character: a larger text need not be read to be refused.
_MAX_TEXT_BYTES = 4 * MAX_CHARACTERS


def _never() -> bool:
    return False


def format_of(name: str, media_type: str = "") -> str:
    """Return the format of a file: by its media type, else by its name; plain if by neither."""
    said = _MEDIA_TYPES.get(media_type.partition(";")[0].strip().lower())
    return said or SUFFIXES.get(PurePosixPath(name).suffix.lower(), PLAIN)


def read_file(
    name: str,
    data: bytes,
    media_type: str = "",
    *,
    where: str = "",
    is_over: Callable[[], bool] = _never,
) -> Iterator[Found]:
    """Yield the documents of a file, each with where it stands; never raises.

    A document's id and address are the file's name; a row of JSON lines may give its own. May
    take seconds: not for an event loop.

    Args:
        name: its name, which says its format where no media type does.
        data: what it holds.
        media_type: its media type, perhaps with a charset.
        where: the file, as it is shown; its name by default.
        is_over: asked now and then whether to leave it at that.
    """
    where = where or name
    found = format_of(name, media_type)
    if is_pdf(data[:16]) and found != ROWS:
        found = PDF
    if found == ROWS and len(data) <= MAX_BYTES:
        yield from read_rows(io.BytesIO(data), name, where)
        return
    try:
        check_size(found, len(data))
        yield where, _document(name, data, found, _charset(media_type), is_over)
    except UnreadableError as error:
        yield where, Unreadable(where, str(error))


def check_size(found: str, size_bytes: int) -> None:
    """Check whether a file of a format is worth reading.

    Raises:
        UnreadableError: it is larger than any that is read.
    """
    if found in (PLAIN, MARKDOWN) and size_bytes > _MAX_TEXT_BYTES:
        raise too_long(f"{size_bytes} bytes")
    if size_bytes > MAX_BYTES:
        raise UnreadableError(f"has {size_bytes} bytes, more than {MAX_BYTES}")


def _document(
    name: str, data: bytes, found: str, charset: str, is_over: Callable[[], bool]
) -> Document:
    if not data.strip():
        raise UnreadableError("is empty")
    stem = PurePosixPath(name).stem
    if found == PDF:
        title, text = read_pdf(data, is_over)
        return Document(name, text, TextFormat.PLAIN, title or stem, uri=name)
    if found == HTML:
        title, text = read_html(data, is_over, charset)
    else:
        text = decoded(data)
        title = title_of(text) if found == MARKDOWN else ""
    if not text.strip():
        raise UnreadableError("is empty")
    if len(text) > MAX_CHARACTERS:
        raise too_long(f"{len(text)} characters")
    plain = TextFormat.PLAIN if found == PLAIN else TextFormat.MARKDOWN
    return Document(name, text, plain, title or stem, uri=name)


def _charset(media_type: str) -> str:
    """Return the charset that a media type names; empty if it names none."""
    for parameter in media_type.split(";")[1:]:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset":
            return value.strip().strip('"')
    return ""
