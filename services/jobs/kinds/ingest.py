"""`ingest`: files, given with the job, read by their format and stored as documents."""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from libs.errors import InvalidFieldError
from libs.reading import MAX_BYTES, Found, Unreadable, read_file
from libs.values.retrieval import Document
from services.jobs.kinds.clients import Clients
from services.jobs.kinds.inputs import CollectionName, LabelText
from services.jobs.kinds.kind import JobInput, Task, Teller, kind_of
from services.jobs.kinds.work import Steps, patiently

_MOST_FILES = 1_000
# A call's share: few enough to be quick, enough to fill the encoder's batches.
_MOST_DOCUMENTS = 32
_MOST_CHARACTERS = 200_000
_LIMIT_S = 600.0
_READ_LIMIT_S = 120.0
_STAGE = "storing"
# Of a file of very many rows, an item names the first ones.
_MOST_NAMED = 100

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


class IngestInput(JobInput):
    """Files, where their documents go, and who may see them.

    Attributes:
        collection: made if it is not there.
        files: what to store.
        scope: the documents' access scope; empty is open to the whole tenant. That of the job
            if it is not given. Rows of JSON lines may say another.
    """

    collection: CollectionName = "default"
    files: tuple[FileInput, ...] = Field(min_length=1, max_length=_MOST_FILES)
    scope: Annotated[str, StringConstraints(max_length=256)] | None = None


@dataclass(slots=True)
class _Outcome:
    """What has come of one file so far."""

    key: str
    name: str
    document_ids: list[str] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    def value(self) -> dict[str, Any]:
        """Return the file's item."""
        named = self.unreadable[:_MOST_NAMED]
        item: dict[str, Any] = {
            "name": self.name,
            "document_count": len(self.document_ids),
            "document_ids": self.document_ids[:_MOST_NAMED],
            "unreadable_count": len(self.unreadable),
            "unreadable": [{"where": each.path, "reason": each.reason} for each in named],
        }
        if not self.document_ids:
            item["reason"] = named[0].reason
        return item


class _Store:
    """Documents on their way into a collection, in batches; files whose turn has come are told."""

    def __init__(self, task: Task, given: IngestInput, teller: Teller, clients: Clients) -> None:
        self._client = clients.retrieval
        self._tenant_id = task.tenant_id
        self._collection = given.collection
        self._teller = teller
        self._steps = Steps(teller, len(given.files), len(teller.items))
        self._batch: list[tuple[_Outcome, str, Document]] = []
        self._read: list[_Outcome] = []
        self._origins: dict[str, str] = {}
        self.changed_count = 0
        self.passage_count = 0

    async def open(self) -> None:
        """Have the collection there."""
        make = self._client.create_collection
        call = functools.partial(make, self._tenant_id, self._collection, limit_s=_LIMIT_S)
        await patiently(call)
        await self._steps.at(_STAGE)

    async def add(self, outcome: _Outcome, where: str, document: Document) -> None:
        """Store a document, sooner or later, unless another one has its id."""
        origin = self._origins.setdefault(document.document_id, where)
        if origin != where:
            reason = f"has the id {document.document_id!r}, as {origin} has"
            outcome.unreadable.append(Unreadable(where, reason))
            return
        size = sum(len(each.text) for _, _, each in self._batch) + len(document.text)
        if self._batch and (len(self._batch) >= _MOST_DOCUMENTS or size > _MOST_CHARACTERS):
            await self.flush()
        self._batch.append((outcome, where, document))

    def has_read(self, outcome: _Outcome) -> None:
        """Note that a file has no more documents than those that were added."""
        self._read.append(outcome)

    def knows(self, document_ids: Sequence[str], where: str) -> None:
        """Note which documents an earlier attempt has stored."""
        for document_id in document_ids:
            self._origins.setdefault(document_id, where)

    async def flush(self) -> None:
        """Store what is waiting, and tell of the files that are done by that."""
        if self._batch:
            await self._store(self._batch)
            self._batch = []
        read, self._read = self._read, []
        for outcome in read:
            await self._teller.item(outcome.key, outcome.value())
            await self._steps.done(_STAGE, outcome.key)

    async def _store(self, batch: Sequence[tuple[_Outcome, str, Document]]) -> None:
        """Store documents; of those that retrieval refuses, each is named."""
        documents = [document for _, _, document in batch]
        store = self._client.upsert
        call = functools.partial(
            store, self._tenant_id, self._collection, documents, limit_s=_LIMIT_S
        )
        try:
            stored = await patiently(call)
        except InvalidFieldError as error:
            if len(batch) > 1:
                for each in batch:
                    await self._store([each])
                return
            outcome, where, _ = batch[0]
            outcome.unreadable.append(Unreadable(where, f"is refused: {error.problem}"))
            return
        self.changed_count += stored.changed_count
        self.passage_count += stored.passage_count
        for outcome, _, document in batch:
            outcome.document_ids.append(document.document_id)


async def _run(
    task: Task, given: IngestInput, teller: Teller, clients: Clients
) -> Mapping[str, Any]:
    store = _Store(task, given, teller, clients)
    await store.open()
    files = _keyed(given.files)
    scope = task.scope if given.scope is None else given.scope
    for key, file in files.items():
        if key in teller.items:
            store.knows(teller.items[key]["document_ids"], key)
            continue
        outcome = _Outcome(key, file.name)
        for where, found in await _read(key, file):
            if isinstance(found, Unreadable):
                outcome.unreadable.append(found)
            else:
                await store.add(outcome, where, _labelled(found, file, scope))
        store.has_read(outcome)
    await store.flush()
    return _result(given, [teller.items[key] for key in files], store)


def _result(
    given: IngestInput, items: Sequence[Mapping[str, Any]], store: _Store
) -> dict[str, Any]:
    failed = [each for each in items if "reason" in each]
    return {
        "collection": given.collection,
        "file_count": len(items),
        "stored_file_count": len(items) - len(failed),
        "document_count": sum(each["document_count"] for each in items),
        "changed_count": store.changed_count,
        "passage_count": store.passage_count,
        "unreadable_count": sum(each["unreadable_count"] for each in items),
        "failed_files": [{"name": each["name"], "reason": each["reason"]} for each in failed],
    }


def _keyed(files: Sequence[FileInput]) -> dict[str, FileInput]:
    """Return the files by the keys of their items: their names, numbered where they recur."""
    keyed: dict[str, FileInput] = {}
    for place, file in enumerate(files):
        keyed[file.name if file.name not in keyed else f"{file.name}#{place}"] = file
    return keyed


async def _read(key: str, file: FileInput) -> list[Found]:
    """Read a file in a thread, which ends soon after nobody waits for it any more."""
    has_left = threading.Event()
    end_s = time.monotonic() + _READ_LIMIT_S
    try:
        return await asyncio.to_thread(
            _documents, key, file, lambda: has_left.is_set() or time.monotonic() > end_s
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
            return file.content.encode()
        except UnicodeEncodeError as error:
            raise ValueError("has half a character in it") from error
    encoded = file.content_base64 or ""
    if len(encoded) // 4 * 3 > MAX_BYTES + 3:
        raise ValueError(f"has about {len(encoded) // 4 * 3} bytes, more than {MAX_BYTES}")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("is not base64") from error


def _labelled(document: Document, file: FileInput, scope: str) -> Document:
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


INGEST = kind_of("ingest", IngestInput, _run)
"""Files, read by their format and stored as documents."""
