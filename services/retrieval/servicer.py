"""`hasten.retrieval.v1.RetrievalService`: from the wire to the library and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from google.protobuf import timestamp_pb2
from grpc import aio

from hasten.retrieval.v1 import retrieval_service_pb2 as pb
from hasten.retrieval.v1.retrieval_service_pb2_grpc import (
    RetrievalServiceServicer,
    add_RetrievalServiceServicer_to_server,
)
from libs.server import current_call
from libs.values.retrieval import (
    Change,
    Document,
    DocumentState,
    PassageList,
    SearchQuery,
    TextFormat,
)
from libs.wire import document_to, filters_from, passage_to, timing_to
from services.retrieval.library import Library

DEFAULT_LIMIT = 8
DEFAULT_PAGE = 100
_MICROS = 1_000_000
_FORMATS = frozenset(map(int, TextFormat))

Context = Any


class RetrievalServicer(RetrievalServiceServicer):
    """Serves one library."""

    NAME = pb.DESCRIPTOR.services_by_name["RetrievalService"].full_name
    WATCHES = (f"{NAME}/WatchChanges",)

    def __init__(self, library: Library) -> None:
        self._library = library

    def register(self, server: aio.Server) -> None:
        """Attach this servicer to a server."""
        add_RetrievalServiceServicer_to_server(self, server)

    async def SearchPassages(
        self, request: pb.SearchPassagesRequest, context: Context
    ) -> AsyncIterator[pb.SearchPassagesResponse]:
        async with aclosing(self._library.search(_query(request))) as lists:
            async for each in lists:
                yield _list_to(each)

    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        made = await self._library.create_collection(request.tenant_id, request.collection)
        return pb.CreateCollectionResponse(
            index_version=made.index_version, created=made.created, timing=_timing()
        )

    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, context: Context
    ) -> pb.DeleteCollectionResponse:
        gone = await self._library.delete_collection(request.tenant_id, request.collection)
        return pb.DeleteCollectionResponse(
            index_version=gone.index_version, deleted_count=gone.deleted_count, timing=_timing()
        )

    async def UpsertDocuments(
        self, request: pb.UpsertDocumentsRequest, context: Context
    ) -> pb.UpsertDocumentsResponse:
        documents = [_document(each) for each in request.documents]
        stored = await self._library.upsert(request.tenant_id, request.collection, documents)
        return pb.UpsertDocumentsResponse(
            index_version=stored.index_version,
            changed_count=stored.changed_count,
            passage_count=stored.passage_count,
            timing=_timing(),
        )

    async def DeleteDocuments(
        self, request: pb.DeleteDocumentsRequest, context: Context
    ) -> pb.DeleteDocumentsResponse:
        ids = list(request.document_ids)
        gone = await self._library.delete(request.tenant_id, request.collection, ids)
        return pb.DeleteDocumentsResponse(
            index_version=gone.index_version, deleted_count=gone.deleted_count, timing=_timing()
        )

    async def GetDocument(
        self, request: pb.GetDocumentRequest, context: Context
    ) -> pb.GetDocumentResponse:
        found = await self._library.get(request.tenant_id, request.collection, request.document_id)
        return pb.GetDocumentResponse(
            document=document_to(found.document), state=_state_to(found.state), timing=_timing()
        )

    async def ListDocuments(
        self, request: pb.ListDocumentsRequest, context: Context
    ) -> pb.ListDocumentsResponse:
        size = request.page_size or DEFAULT_PAGE
        page = await self._library.list(
            request.tenant_id, request.collection, size, request.page_token
        )
        return pb.ListDocumentsResponse(
            documents=map(_state_to, page.documents),
            next_page_token=page.next_page_token,
            index_version=page.index_version,
            timing=_timing(),
        )

    async def WatchChanges(
        self, request: pb.WatchChangesRequest, context: Context
    ) -> AsyncIterator[pb.WatchChangesResponse]:
        watch = self._library.watch(request.tenant_id, request.after_version)
        async with aclosing(watch) as batches:
            async for batch in batches:
                yield pb.WatchChangesResponse(
                    changes=map(_change_to, batch.changes),
                    index_version=batch.index_version,
                    store_id=batch.store_id,
                )


def _timing(queue_s: float = 0.0) -> Any:
    return timing_to(current_call().timing(queue_s=queue_s))


def _query(request: pb.SearchPassagesRequest) -> SearchQuery:
    return SearchQuery(
        request.tenant_id,
        request.collection,
        request.question,
        request.embedding,
        request.embedding_fingerprint,
        filters_from(request.filters),
        request.limit or DEFAULT_LIMIT,
        request.scope,
    )


def _list_to(found: PassageList) -> pb.SearchPassagesResponse:
    return pb.SearchPassagesResponse(
        passages=map(passage_to, found.passages),
        stage=int(found.stage),  # type: ignore[arg-type]
        index_version=found.index_version,
        store_id=found.store_id,
        timing=_timing(found.timing.queue_s),
        final=found.final,
    )


def _document(message: pb.Document) -> Document:
    # A format of a later version is as good as none: it is refused with the field's name.
    known = message.format in _FORMATS
    return Document(
        message.document_id,
        message.text,
        TextFormat(message.format) if known else TextFormat.UNSPECIFIED,
        message.title,
        dict(message.metadata),
        message.uri,
        message.scope,
        message.unsplit,
    )


def _state_to(state: DocumentState) -> pb.DocumentState:
    updated = timestamp_pb2.Timestamp()
    updated.FromMicroseconds(round(state.updated_at_s * _MICROS))
    return pb.DocumentState(
        document_id=state.document_id,
        title=state.title,
        version=state.version,
        content_sha256=state.content_sha256,
        passage_count=state.passage_count,
        update_time=updated,
        scope=state.scope,
    )


def _change_to(change: Change) -> pb.Change:
    kind = pb.CHANGE_KIND_DELETED if change.deleted else pb.CHANGE_KIND_UPSERTED
    return pb.Change(
        version=change.version,
        tenant_id=change.tenant_id,
        collection=change.collection,
        document_id=change.document_id,
        kind=kind,
    )
