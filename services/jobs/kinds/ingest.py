"""`ingest`: files, given with the job, read by their format and stored as documents."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from libs.errors import DocumentNotFoundError, InvalidFieldError
from libs.reading import Unreadable
from libs.values.retrieval import Document
from services.jobs.kinds.clients import Clients
from services.jobs.kinds.files import FileInput, keyed_files, labelled, read_given
from services.jobs.kinds.inputs import CollectionName
from services.jobs.kinds.kind import JobInput, Task, Teller, kind_of
from services.jobs.kinds.work import Steps, patiently, side_by_side

_MOST_FILES = 1_000
# A call's share: few enough to be quick, enough to fill the encoder's batches.
_MOST_DOCUMENTS = 32
_MOST_CHARACTERS = 200_000
_LIMIT_S = 600.0
_STAGE = "storing"
# Of a file of very many rows, an item names the first ones.
_MOST_NAMED = 100
NOT_ITS_SCOPE = "has a scope that is not the job's"
FOREIGN = "has the id of a document whose scope is not the job's"


class IngestInput(JobInput):
    """Files, where their documents go, and who may see them.

    Attributes:
        collection: made if it is not there.
        files: what to store.
        scope: the documents' access scope; empty is open to the whole tenant. That of the job
            if it is not given. Rows of JSON lines may name one of the two.
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
        self._scopes = _scopes_of(task, given)
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
            await self._store_own(self._batch)
            self._batch = []
        read, self._read = self._read, []
        for outcome in read:
            await self._teller.item(outcome.key, outcome.value())
            await self._steps.done(_STAGE, outcome.key)

    async def _store_own(self, batch: Sequence[tuple[_Outcome, str, Document]]) -> None:
        """Store documents, but none in the place of one that this job must not touch."""
        foreign: set[str] = set()

        async def look(document_id: str) -> None:
            if await self._is_foreign(document_id):
                foreign.add(document_id)

        await side_by_side([each.document_id for _, _, each in batch], look)
        for outcome, where, document in batch:
            if document.document_id in foreign:
                outcome.unreadable.append(Unreadable(where, FOREIGN))
        own = [each for each in batch if each[2].document_id not in foreign]
        if own:
            await self._store(own)

    async def _is_foreign(self, document_id: str) -> bool:
        get = self._client.get
        call = functools.partial(
            get, self._tenant_id, self._collection, document_id, limit_s=_LIMIT_S
        )
        try:
            stored = await patiently(call)
        except (DocumentNotFoundError, InvalidFieldError):
            return False
        return stored.document.scope not in self._scopes

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
    files = keyed_files(given.files)
    scope = task.scope if given.scope is None else given.scope
    for key, file in files.items():
        if key in teller.items:
            store.knows(teller.items[key]["document_ids"], key)
            continue
        outcome = _Outcome(key, file.name)
        for where, found in await read_given(key, file):
            if isinstance(found, Unreadable):
                outcome.unreadable.append(found)
            elif found.scope not in _scopes_of(task, given):
                # Whether the submitter may name it was asked of these alone.
                outcome.unreadable.append(Unreadable(where, NOT_ITS_SCOPE))
            else:
                await store.add(outcome, where, labelled(found, file, scope))
        store.has_read(outcome)
    await store.flush()
    return _result(given, [teller.items[key] for key in files], store)


def _scopes_of(task: Task, given: IngestInput) -> frozenset[str]:
    """Return the scopes that the submitter may name, as far as is known here."""
    return frozenset({"", task.scope, given.scope or ""})


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


INGEST = kind_of("ingest", IngestInput, _run)
"""Files, read by their format and stored as documents."""
