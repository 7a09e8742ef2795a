"""A typed client of `hasten.retrieval.v1.RetrievalService`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from hasten.retrieval.v1 import retrieval_service_pb2 as pb
from hasten.retrieval.v1.retrieval_service_pb2_grpc import RetrievalServiceStub
from libs.clients.connection import Connection
from libs.values.retrieval import (
    Change,
    ChangeBatch,
    CollectionCreated,
    Deleted,
    Document,
    DocumentPage,
    DocumentState,
    PassageList,
    SearchQuery,
    SearchStage,
    StoredDocument,
    TextFormat,
    Upserted,
)
from libs.wire import document_to, filters_to, passage_from, timing_from

_NANOS = 1_000_000_000


class RetrievalClient:
    """Stores documents and finds their passages; raises what the server raised."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._spare: RetrievalClient | None = None
        self._stub = RetrievalServiceStub(connection.channel)

    @property
    def backend_count(self) -> int:
        """Backends that share the calls, as far as is known."""
        return self._connection.backend_count

    def spare(self) -> RetrievalClient:
        """Return a client over connections of its own, for a call that is made twice."""
        if self._spare is None:
            spare = self._connection.spare()
            self._spare = self if spare is self._connection else RetrievalClient(spare)
        return self._spare

    def may_hedge(self) -> bool:
        """Take a second call out of the allowance; no while the breaker is open."""
        return self._connection.may_hedge()

    @asynccontextmanager
    async def search(
        self, query: SearchQuery, *, limit_s: float | None = None
    ) -> AsyncIterator[AsyncIterator[PassageList]]:
        """Yield ever better lists; leaving the block cancels the search."""
        request = _query_to(query)
        method = self._stub.SearchPassages
        async with self._connection.stream(method, request, limit_s=limit_s) as messages:
            yield (_list_from(message) async for message in messages)

    async def create_collection(
        self, tenant_id: str, collection: str, *, limit_s: float | None = None
    ) -> CollectionCreated:
        """Create a collection; one that exists stays as it is."""
        request = pb.CreateCollectionRequest(tenant_id=tenant_id, collection=collection)
        method = self._stub.CreateCollection
        response = await self._connection.unary(method, request, limit_s=limit_s)
        timing = timing_from(response.timing)
        return CollectionCreated(response.index_version, response.created, timing)

    async def delete_collection(
        self, tenant_id: str, collection: str, *, limit_s: float | None = None
    ) -> Deleted:
        """Delete a collection and all its documents; one that is not there is no error."""
        request = pb.DeleteCollectionRequest(tenant_id=tenant_id, collection=collection)
        method = self._stub.DeleteCollection
        response = await self._connection.unary(method, request, limit_s=limit_s)
        timing = timing_from(response.timing)
        return Deleted(response.index_version, response.deleted_count, timing)

    async def upsert(
        self,
        tenant_id: str,
        collection: str,
        documents: Sequence[Document],
        *,
        limit_s: float | None = None,
    ) -> Upserted:
        """Store 1 to 64 documents, all of them or none, in place of those with their ids."""
        request = pb.UpsertDocumentsRequest(
            tenant_id=tenant_id, collection=collection, documents=map(document_to, documents)
        )
        method = self._stub.UpsertDocuments
        response = await self._connection.unary(method, request, limit_s=limit_s)
        timing = timing_from(response.timing)
        counts = response.changed_count, response.passage_count
        return Upserted(response.index_version, *counts, timing)

    async def delete(
        self,
        tenant_id: str,
        collection: str,
        document_ids: Sequence[str],
        *,
        limit_s: float | None = None,
    ) -> Deleted:
        """Delete 1 to 1,000 documents; ids that are not there are no error."""
        request = pb.DeleteDocumentsRequest(
            tenant_id=tenant_id, collection=collection, document_ids=document_ids
        )
        method = self._stub.DeleteDocuments
        response = await self._connection.unary(method, request, limit_s=limit_s)
        timing = timing_from(response.timing)
        return Deleted(response.index_version, response.deleted_count, timing)

    async def get(
        self,
        tenant_id: str,
        collection: str,
        document_id: str,
        *,
        limit_s: float | None = None,
    ) -> StoredDocument:
        """Return one document, whole."""
        request = pb.GetDocumentRequest(
            tenant_id=tenant_id, collection=collection, document_id=document_id
        )
        response = await self._connection.unary(self._stub.GetDocument, request, limit_s=limit_s)
        document, state = _document_from(response.document), _state_from(response.state)
        return StoredDocument(document, state, timing_from(response.timing))

    async def list(
        self,
        tenant_id: str,
        collection: str,
        *,
        page_size: int = 100,
        page_token: str = "",
        limit_s: float | None = None,
    ) -> DocumentPage:
        """Return a page of a collection's documents by id, without their text."""
        request = pb.ListDocumentsRequest(
            tenant_id=tenant_id, collection=collection, page_size=page_size, page_token=page_token
        )
        response = await self._connection.unary(self._stub.ListDocuments, request, limit_s=limit_s)
        return DocumentPage(
            tuple(map(_state_from, response.documents)),
            response.next_page_token,
            response.index_version,
            timing_from(response.timing),
        )

    @asynccontextmanager
    async def watch(
        self, tenant_id: str = "*", after_version: int = 0, *, limit_s: float | None = None
    ) -> AsyncIterator[AsyncIterator[ChangeBatch]]:
        """Yield every change after a version, then new ones, and a sign of life every 200 ms."""
        request = pb.WatchChangesRequest(tenant_id=tenant_id, after_version=after_version)
        method = self._stub.WatchChanges
        async with self._connection.stream(method, request, limit_s=limit_s) as messages:
            yield (_batch_from(message) async for message in messages)


def _query_to(query: SearchQuery) -> pb.SearchPassagesRequest:
    return pb.SearchPassagesRequest(
        tenant_id=query.tenant_id,
        collection=query.collection,
        question=query.question,
        embedding=query.embedding,
        embedding_fingerprint=query.embedding_fingerprint,
        filters=filters_to(query.filters),
        limit=query.limit,
        scope=query.scope,
    )


def _list_from(message: pb.SearchPassagesResponse) -> PassageList:
    return PassageList(
        tuple(map(passage_from, message.passages)),
        SearchStage(message.stage),
        message.index_version,
        message.store_id,
        timing_from(message.timing),
        message.final,
    )


def _document_from(message: pb.Document) -> Document:
    return Document(
        message.document_id,
        message.text,
        TextFormat(message.format),
        message.title,
        dict(message.metadata),
        message.uri,
        message.scope,
        message.unsplit,
    )


def _state_from(message: pb.DocumentState) -> DocumentState:
    return DocumentState(
        message.document_id,
        message.title,
        message.version,
        message.content_sha256,
        message.passage_count,
        message.update_time.ToNanoseconds() / _NANOS,
        message.scope,
    )


def _batch_from(message: pb.WatchChangesResponse) -> ChangeBatch:
    changes = tuple(map(_change_from, message.changes))
    return ChangeBatch(changes, message.index_version, message.store_id)


def _change_from(message: pb.Change) -> Change:
    return Change(
        message.version,
        message.tenant_id,
        message.collection,
        message.document_id,
        message.kind == pb.CHANGE_KIND_DELETED,
    )
