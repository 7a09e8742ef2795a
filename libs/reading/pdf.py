"""PDF files: the text of their pages."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator

from pypdf import PageObject, PdfReader
from pypdf.errors import DependencyError
from pypdf.generic import DictionaryObject, StreamObject

from libs.reading.found import MAX_CHARACTERS, MAX_TITLE, UnreadableError, too_long

MAGIC = b"%PDF-"
# It may stand behind some bytes of something else, as readers have always allowed.
_MAGIC_WITHIN = 1024
# Instructions that draw a page. A byte of them may take 130 of memory once they are read, and
# a file of 70 KB unpacks to 75 MB.
_MAX_DRAWING_BYTES = 4 * 1024 * 1024


def is_pdf(data: bytes) -> bool:
    """Return whether bytes begin as a PDF file does."""
    return MAGIC in data[:_MAGIC_WITHIN]


def read_pdf(data: bytes, is_over: Callable[[], bool]) -> tuple[str, str]:
    """Return a PDF's title and its text, a blank line between pages.

    Args:
        data: the file.
        is_over: asked before each page whether to leave it at that.

    Raises:
        UnreadableError: it is no PDF, is locked, is damaged, takes too long, or has no text.
    """
    # What it says of every damaged file is said in the reason.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = _opened(data)
        text = "\n\n".join(_pages(reader, is_over))
        title = _title(reader)
    except UnreadableError:
        raise
    except DependencyError as error:
        raise UnreadableError("is an encrypted PDF") from error
    except Exception as error:
        # A damaged file makes the library stumble over whatever it holds instead.
        raise UnreadableError("is a damaged PDF") from error
    if not text.strip():
        raise UnreadableError("is a PDF without text, as scans are")
    return title, text


def _opened(data: bytes) -> PdfReader:
    if not is_pdf(data):
        raise UnreadableError("is not a PDF")
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise UnreadableError("is a PDF that only a password opens")
    return reader


def _pages(reader: PdfReader, is_over: Callable[[], bool]) -> Iterator[str]:
    count = 0
    for page in reader.pages:
        if is_over():
            raise UnreadableError("takes too long to read")
        _check_drawing(page)
        # Half a character, as broken fonts yield, is carried by no wire.
        text = page.extract_text().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        text = text.replace("\0", "").strip()
        count += len(text) + 2
        if count > MAX_CHARACTERS:
            raise too_long(f"at least {count} characters")
        if text:
            yield text


def _check_drawing(page: PageObject) -> None:
    """Refuse a page that takes more memory than a page may.

    Raises:
        UnreadableError: what draws it is too long.
    """
    contents = page.get_contents()
    size = 0 if contents is None else len(contents.get_data())
    for form in _forms(page):
        size += len(form.get_data())
        if size > _MAX_DRAWING_BYTES:
            break
    if size > _MAX_DRAWING_BYTES:
        raise UnreadableError(
            f"is a PDF with a page of more than {_MAX_DRAWING_BYTES} bytes of drawing"
        )


def _forms(page: PageObject) -> Iterator[StreamObject]:
    """Yield the drawings that a page uses, and those that they use, each once."""
    users: list[DictionaryObject] = [page]
    seen: set[int] = set()
    while users:
        resources = users.pop().get("/Resources", DictionaryObject()).get_object()
        for each in resources.get("/XObject", DictionaryObject()).get_object().values():
            form = each.get_object()
            if id(form) not in seen and form.get("/Subtype") == "/Form":
                seen.add(id(form))
                users.append(form)
                yield form


def _title(reader: PdfReader) -> str:
    title = reader.metadata.title if reader.metadata else None
    title = title if isinstance(title, str) else ""
    return title.encode(errors="ignore").decode().replace("\0", "").strip()[:MAX_TITLE]
