"""Files that are given with a job, read into documents."""

from __future__ import annotations

import asyncio
import base64
import binascii
import codecs
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from libs.reading import MAX_BYTES, Found, Unreadable, read_file
from libs.values.retrieval import Document
from services.jobs.kinds.inputs import LabelText
from services.jobs.kinds.kind import JobInput

_READ_LIMIT_S = 120.0

_Label = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_Short = Annotated[str, StringConstraints(max_length=512)]


class FileInput(JobInput):
    """A file: its name, and what it holds as text or in base64.

    Attributes:
        name: its name, which is its documents' id and address.
        content: what it holds, if that is text.
        content_base64: what it holds, if it is not.
        media_type: says its format where the name's end does not.
        title: replaces the one that it says itself.
        metadata: labels to filter by, beside those of its rows.
        document_id: the documents' id in place of the name.
    """

    name: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    content: str | None = None
    content_base64: str | None = None
    media_type: Annotated[str, StringConstraints(max_length=256)] = ""
    title: _Short = ""
    metadata: dict[_Label, LabelText] = Field(default_factory=dict, max_length=32)
    document_id: _Short = ""

    @model_validator(mode="after")
    def _holds_one_thing(self) -> FileInput:
        if (self.content is None) == (self.content_base64 is None):
            raise ValueError("content or content_base64: one of them must be given")
        return self


def keyed_files(files: Sequence[FileInput]) -> dict[str, FileInput]:
    """Return the files by the keys of their items: their names, numbered where they recur."""
    keyed: dict[str, FileInput] = {}
    for place, file in enumerate(files):
        keyed[file.name if file.name not in keyed else f"{file.name}#{place}"] = file
    return keyed


async def read_given(
    key: str, file: FileInput, clock: Callable[[], float] = time.monotonic
) -> list[Found]:
    """Read a file in a thread, which ends soon after nobody waits for it any more."""
    has_left = threading.Event()
    end_s = clock() + _READ_LIMIT_S
    try:
        return await asyncio.to_thread(
            _documents, key, file, lambda: has_left.is_set() or clock() > end_s
        )
    finally:
        has_left.set()


def _documents(key: str, file: FileInput, is_over: Callable[[], bool]) -> list[Found]:
    try:
        data = _bytes_of(file)
    except ValueError as error:
        return [(key, Unreadable(key, str(error)))]
    return list(read_file(file.name, data, file.media_type, where=key, is_over=is_over))


def _bytes_of(file: FileInput) -> bytes:
    if file.content is not None:
        # JSON can spell half a character, which no wire carries.
        try:
            # The mark says that it is UTF-8 by now, whatever a page says of itself.
            return codecs.BOM_UTF8 + file.content.encode()
        except UnicodeEncodeError as error:
            raise ValueError("has half a character in it") from error
    encoded = file.content_base64 or ""
    if len(encoded) // 4 * 3 > MAX_BYTES + 3:
        raise ValueError(f"has about {len(encoded) // 4 * 3} bytes, more than {MAX_BYTES}")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("is not base64") from error


def labelled(document: Document, file: FileInput, scope: str) -> Document:
    """Return a document under the id, title and labels that were given with its file."""
    document_id = document.document_id
    is_named = document_id == file.name or document_id.startswith(f"{file.name}:")
    if file.document_id and is_named:
        document_id = file.document_id + document_id.removeprefix(file.name)
    return replace(
        document,
        document_id=document_id,
        title=file.title or document.title,
        metadata={**file.metadata, **document.metadata},
        scope=document.scope or scope,
    )
