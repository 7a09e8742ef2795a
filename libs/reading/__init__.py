"""Files as documents: Markdown, plain text, JSON lines, HTML and PDF."""

from libs.reading.files import SUFFIXES, check_size, format_of, read_file
from libs.reading.found import MAX_BYTES, MAX_CHARACTERS, Found, Unreadable, UnreadableError
from libs.reading.rows import read_rows

__all__ = [
    "MAX_BYTES",
    "MAX_CHARACTERS",
    "SUFFIXES",
    "Found",
    "Unreadable",
    "UnreadableError",
    "check_size",
    "format_of",
    "read_file",
    "read_rows",
]
