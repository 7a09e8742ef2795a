"""Files of a `multipart/form-data` body (RFC 7578), taken apart while they come.

Nothing is written to a disk: what is taken is bounded, and what goes beyond is refused before
it is kept.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.edge.documents.limits import (
    Limits,
    file_too_large,
    too_many_files,
    upload_too_large,
)
from services.edge.documents.names import check_name
from services.edge.problem import Problem, ProblemError
from services.edge.web.query import refused

MEDIA_TYPE = "multipart/form-data"
FILE_FIELDS = frozenset({"file", "files"})
"""Names of fields that hold files."""

TEXT_FIELDS = frozenset({"collection", "scope", "result_ttl_s"})
"""Names of fields that hold a word about all files."""

_MAX_TEXT_BYTES = 1024
# Base64 of so many bytes has no padding: pieces of it can be joined.
_TRIPLE = 3
# The parser warns of every body that is not well-formed; its sender is told.
_SILENT = logging.getLogger("hasten.multipart")
_SILENT.propagate = False
_SILENT.addHandler(logging.NullHandler())


@dataclass(slots=True)
class UploadedFile:
    """A file as it comes.

    Attributes:
        name: as the sender named it.
        media_type: as the sender said; empty if it did not.
        size_bytes: what has come so far.
    """

    name: str
    media_type: str
    size_bytes: int = 0
    _encoded: list[bytes] = field(default_factory=list)
    _rest: bytes = b""

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size_bytes += len(data)
        data = self._rest + data
        whole = len(data) // _TRIPLE * _TRIPLE
        self._rest = data[whole:]
        self._encoded.append(base64.b64encode(data[:whole]))

    def encoded(self) -> list[bytes]:
        """Return the pieces of the file in base64; nothing may be added any more."""
        return [*self._encoded, base64.b64encode(self._rest)]


@dataclass(slots=True)
class _Part:
    """One part of the body, its headers first."""

    headers: dict[str, str] = field(default_factory=dict)
    name: str = ""
    file: UploadedFile | None = None
    text: bytes = b""


class Form:
    """Takes a body apart.

    Args:
        content_type: the header of the request, with the boundary.
        limits: how much may come.

    Attributes:
        files: those that have come, in order.
        texts: the other fields.

    Raises:
        ProblemError: there is no boundary, or none that can be.
    """

    def __init__(self, content_type: str, limits: Limits) -> None:
        self.files: list[UploadedFile] = []
        self.texts: dict[str, str] = {}
        self._limits = limits
        self._total_bytes = 0
        self._part = _Part()
        self._header = self._value = b""
        self._has_ended = False
        self._parser = _parser(content_type, self._callbacks())

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            ProblemError: they are not of such a form, or more than the limits allow.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed("it is not well-formed") from error

    def end(self) -> None:
        """Note that no more comes.

        Raises:
            ProblemError: the body broke off, or holds no file.
        """
        if not self._has_ended:
            raise _malformed("it ends before its last boundary")
        if not self.files:
            raise refused("files", "at least one file must come")

    def _callbacks(self) -> dict[str, Callable[..., Any]]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_header,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._take,
            "on_part_end": self._close,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._part = _Part()

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        name = self._header.decode("latin-1").lower()
        self._part.headers[name] = self._value.decode("latin-1")
        self._header = self._value = b""

    def _open(self) -> None:
        part = self._part
        kind, options = parse_options_header(part.headers.get("content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise _malformed("a part has no Content-Disposition: form-data with a name")
        part.name = _text(options[b"name"], "name")
        if b"filename" in options:
            self._open_file(options[b"filename"])
        elif part.name not in TEXT_FIELDS:
            self._refuse_field()

    def _open_file(self, raw_name: bytes) -> None:
        if self._part.name not in FILE_FIELDS:
            self._refuse_field()
        if len(self.files) >= self._limits.max_files:
            raise too_many_files(self._limits.max_files)
        place = f"files[{len(self.files)}].name"
        name = check_name(_text(raw_name, place), place)
        media_type = self._part.headers.get("content-type", "").strip()
        self._part.file = UploadedFile(name, media_type)
        self.files.append(self._part.file)

    def _refuse_field(self) -> None:
        name = self._part.name[:64]
        known = ", ".join(sorted(FILE_FIELDS | TEXT_FIELDS))
        detail = f"{name}: the field is not known; there are {known}."
        raise ProblemError(Problem(400, "UNKNOWN_FIELD", detail, name))

    def _take(self, data: bytes, start: int, end: int) -> None:
        file = self._part.file
        if file is None:
            self._part.text += data[start:end]
            if len(self._part.text) > _MAX_TEXT_BYTES:
                raise refused(self._part.name, f"must have at most {_MAX_TEXT_BYTES} bytes")
            return
        self._total_bytes += end - start
        if file.size_bytes + end - start > self._limits.max_file_bytes:
            place = f"files[{len(self.files) - 1}]"
            raise file_too_large(place, file.name, self._limits.max_file_bytes)
        if self._total_bytes > self._limits.max_upload_bytes:
            raise upload_too_large(self._limits.max_upload_bytes)
        file.add(data[start:end])

    def _close(self) -> None:
        if self._part.file is None:
            self.texts[self._part.name] = _text(self._part.text, self._part.name)

    def _end(self) -> None:
        self._has_ended = True


def _parser(content_type: str, callbacks: Any) -> MultipartParser:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise _malformed("the header Content-Type names no boundary")
    try:
        parser = MultipartParser(boundary, callbacks)
    except FormParserError as error:
        raise _malformed("its boundary is too long") from error
    parser.logger = _SILENT
    return parser


def _malformed(why: str) -> ProblemError:
    detail = f"The body is no {MEDIA_TYPE} that can be read: {why}."
    return ProblemError(Problem(400, "INVALID_FORM", detail))


def _text(raw: bytes, place: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise refused(place, "must be UTF-8") from error
