"""Documents that come as JSON, and what is handed over to be stored."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from services.edge.documents.form import Form
from services.edge.documents.limits import (
    Limits,
    file_too_large,
    too_many_files,
    upload_too_large,
)
from services.edge.documents.names import check_name
from services.edge.web.body import Strict
from services.edge.web.query import refused

DEFAULT_COLLECTION = "default"
# Of base64, four characters are three bytes.
_CHARACTERS, _BYTES = 4, 3


class FileBody(Strict):
    """One file: what it holds as text, or in base64."""

    name: str
    content: str | None = None
    content_base64: str | None = None
    media_type: str | None = None
    title: str | None = None
    metadata: dict[str, str] | None = None
    document_id: str | None = None

    def size_bytes(self, place: str) -> int:
        """Return about how many bytes it holds.

        Raises:
            ProblemError: it holds nothing, two things, or half a character.
        """
        if (self.content is None) == (self.content_base64 is None):
            raise refused(place, "one of content and content_base64 must be given")
        if self.content_base64 is not None:
            return len(self.content_base64) // _CHARACTERS * _BYTES
        try:
            return len((self.content or "").encode())
        except UnicodeEncodeError as error:
            raise refused(f"{place}.content", "must be UTF-8") from error


class UploadBody(Strict):
    """Files, where their documents go, and who may see them."""

    files: tuple[FileBody, ...] = Field(json_schema_extra={"minItems": 1})
    collection: str = DEFAULT_COLLECTION
    scope: str = ""
    result_ttl_s: float | None = Field(None, gt=0)

    def check(self, limits: Limits) -> None:
        """Refuse what may not be uploaded.

        Raises:
            ProblemError: names the file, and the limit.
        """
        if not self.files:
            raise refused("files", "at least one file must come")
        if len(self.files) > limits.max_files:
            raise too_many_files(limits.max_files)
        total_bytes = sum(map(self._size_of, range(len(self.files)), [limits] * len(self.files)))
        if total_bytes > limits.max_upload_bytes:
            raise upload_too_large(limits.max_upload_bytes)

    def _size_of(self, place: int, limits: Limits) -> int:
        file, field = self.files[place], f"files[{place}]"
        check_name(file.name, f"{field}.name")
        if file.document_id is not None:
            check_name(file.document_id, f"{field}.document_id")
        size_bytes = file.size_bytes(field)
        if size_bytes > limits.max_file_bytes:
            raise file_too_large(field, file.name, limits.max_file_bytes)
        return size_bytes

    def input(self) -> bytes:
        """Return the input of the job that stores them."""
        files = [each.model_dump(exclude_none=True) for each in self.files]
        return _head(self.collection, self.scope, files=files)


def input_of(form: Form) -> bytes:
    """Return the input of the job that stores the files of a form.

    Base64 needs no escapes and is put in as it is, in one copy: to look at each of its many
    characters would hold up every other caller.
    """
    collection = form.texts.get("collection", DEFAULT_COLLECTION)
    pieces = [_head(collection, form.texts.get("scope", ""))[:-1], b',"files":[']
    for place, file in enumerate(form.files):
        members = {"name": file.name}
        if file.media_type:
            members["media_type"] = file.media_type
        head = json.dumps(members, ensure_ascii=False).encode()[:-1]
        pieces += [b"," if place else b"", head, b',"content_base64":"', *file.encoded(), b'"}']
    return b"".join([*pieces, b"]}"])


def _head(collection: str, scope: str, **more: Any) -> bytes:
    members = {"collection": collection} | ({"scope": scope} if scope else {}) | more
    return json.dumps(members, ensure_ascii=False).encode()
