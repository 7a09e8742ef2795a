"""The documents that a job reads: which ones, what they hold, and which passages answer."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from libs.errors import (
    DimensionMismatchError,
    DocumentNotFoundError,
    FingerprintMismatchError,
    InvalidFieldError,
    MeshError,
)
from libs.values import Filter, Passage
from libs.values.retrieval import Document, SearchQuery, StoredDocument
from services.jobs.kinds.clients import Clients
from services.jobs.kinds.inputs import DocumentChoice, filters_of
from services.jobs.kinds.kind import Task
from services.jobs.kinds.work import patiently, side_by_side

NOT_FOUND = "there is no such document"
NOT_CHOSEN = "the filters leave it out"

_READ_AT_ONCE = 8
_PAGE = 100
_MOST_PASSAGES = 100
_LIMIT_S, _EMBED_LIMIT_S = 60.0, 10.0
# What a vector is made of; the encoder reads no more of a question.
_EMBEDDED_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Listed:
    """A document that was chosen."""

    document_id: str
    title: str
    character_count: int


@dataclass(slots=True)
class Chosen:
    """The documents that a job reads.

    Attributes:
        documents: in the order in which they were named or found.
        missing: why those that were named are not among them, by id.
        is_cut: True if there were more than may be read.
    """

    documents: list[Listed] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    is_cut: bool = False


class Library:
    """One collection, as far as the job's scope and its filters show it."""

    def __init__(
        self, task: Task, clients: Clients, collection: str, filters: Sequence[Filter] = ()
    ) -> None:
        self._task = task
        self._client = clients.retrieval
        self._embedding = clients.embedding
        self._collection = collection
        self._filters = tuple(filters)

    @classmethod
    def of(cls, task: Task, clients: Clients, choice: DocumentChoice) -> Library:
        """Return the collection of a choice."""
        return cls(task, clients, choice.collection, filters_of(choice.filters))

    async def choose(self, choice: DocumentChoice) -> Chosen:
        """Return which documents are meant.

        Raises:
            CollectionNotFoundError: the tenant has no such collection.
            MeshError: retrieval failed again and again.
        """
        if choice.document_ids or choice.query:
            named = list(dict.fromkeys(choice.document_ids)) or await self._found(choice.query)
            return await self._named(named, choice.most_documents)
        chosen = Chosen()
        async for document_ids in self._pages():
            page = await self._named(document_ids, len(document_ids))
            chosen.documents += page.documents
            if len(chosen.documents) > choice.most_documents:
                del chosen.documents[choice.most_documents :]
                chosen.is_cut = True
                break
        return chosen

    async def document(self, document_id: str) -> StoredDocument | None:
        """Return a document; None if it is not there, or not for this job."""
        get = functools.partial(
            self._client.get, self._task.tenant_id, self._collection, document_id, limit_s=_LIMIT_S
        )
        try:
            stored = await patiently(get)
        except DocumentNotFoundError:
            return None
        return stored if stored.document.scope in ("", self._task.scope) else None

    async def search(self, question: str, limit: int) -> tuple[Passage, ...]:
        """Return up to `limit` passages, best first: by words and, where it can be, by meaning."""
        vector, fingerprint = await self._vector(question)
        query = SearchQuery(
            self._task.tenant_id,
            self._collection,
            question,
            vector,
            fingerprint,
            self._filters,
            limit,
            self._task.scope,
        )
        try:
            return await patiently(functools.partial(self._searched, query))
        except (FingerprintMismatchError, DimensionMismatchError):
            words = SearchQuery(
                query.tenant_id,
                query.collection,
                question,
                filters=self._filters,
                limit=limit,
                scope=query.scope,
            )
            return await patiently(functools.partial(self._searched, words))

    async def _searched(self, query: SearchQuery) -> tuple[Passage, ...]:
        passages: tuple[Passage, ...] = ()
        async with self._client.search(query, limit_s=_LIMIT_S) as lists:
            async for each in lists:
                passages = each.passages
        return passages

    async def _vector(self, question: str) -> tuple[bytes, str]:
        if self._embedding is None:
            return b"", ""
        try:
            texts = [question[:_EMBEDDED_CHARS]]
            made = await self._embedding.embed(texts, limit_s=_EMBED_LIMIT_S)
        except MeshError:
            # Words alone still find much.
            return b"", ""
        return made[0], made.fingerprint

    async def _found(self, query: str) -> list[str]:
        passages = await self.search(query, _MOST_PASSAGES)
        return list(dict.fromkeys(each.document_id for each in passages))

    async def _pages(self) -> AsyncIterator[list[str]]:
        token = ""
        while True:
            listed = functools.partial(
                self._client.list,
                self._task.tenant_id,
                self._collection,
                page_size=_PAGE,
                page_token=token,
                limit_s=_LIMIT_S,
            )
            page = await patiently(listed)
            yield [each.document_id for each in page.documents]
            token = page.next_page_token
            if not token:
                return

    async def _named(self, document_ids: Sequence[str], most: int) -> Chosen:
        """Look at documents, and keep those that this job may and should read."""
        seen: dict[str, Listed | str] = {}

        async def look(document_id: str) -> None:
            stored = await self._stored(document_id)
            if stored is None:
                seen[document_id] = NOT_FOUND
            elif not self._is_chosen(stored.document):
                seen[document_id] = NOT_CHOSEN
            else:
                document = stored.document
                seen[document_id] = Listed(document_id, document.title, len(document.text))

        await side_by_side(document_ids, look, _READ_AT_ONCE)
        chosen = Chosen()
        for document_id in document_ids:
            found = seen[document_id]
            if isinstance(found, str):
                chosen.missing[document_id] = found
            else:
                chosen.documents.append(found)
        chosen.is_cut = len(chosen.documents) > most
        del chosen.documents[most:]
        return chosen

    async def _stored(self, document_id: str) -> StoredDocument | None:
        try:
            return await self.document(document_id)
        except InvalidFieldError:
            return None

    def _is_chosen(self, document: Document) -> bool:
        return all(document.metadata.get(each.key) in each.any_of for each in self._filters)
