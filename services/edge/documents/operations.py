"""`/v1/documents` and `/v1/collections`: what is stored, and what it is stored in."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from libs.clients.retrieval import RetrievalClient
from libs.errors import DocumentNotFoundError
from libs.values.retrieval import DocumentState, StoredDocument, TextFormat
from services.edge.access.caller import ALL
from services.edge.answers.shapes import FLAG, NUMBER, TEXT, WHOLE, nullable, record
from services.edge.documents.body import DEFAULT_COLLECTION
from services.edge.documents.uploading import PATH
from services.edge.problem import Problem, ProblemError
from services.edge.web.exchange import Exchange, json_response
from services.edge.web.operation import Operation, Parameter, Reply
from services.edge.web.query import PAGE_SIZE, PAGE_TOKEN, page_of, tags_of
from services.edge.web.request import JSON

_DOCUMENT_PATH = f"{PATH}/{{document:path}}"
_COLLECTION_PATH = "/v1/collections/{collection}"
_CALL_S = 10.0
# A collection may have very many documents.
_DELETE_S = 60.0
_READ, _WRITE = "documents.read", "documents.write"

_DOCUMENT = Parameter("document", "path", "The document; its id may have slashes.")
_NAME = {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"}
_COLLECTION = Parameter("collection", "path", "The collection.", _NAME)
_IN = Parameter("collection", "query", "The collection.", {**_NAME, "default": DEFAULT_COLLECTION})
_KNOWN = Parameter("If-None-Match", "header", "The ETag of the document as the caller has it.")
_KNOWN_OF_IT: dict[str, Any] = {
    "document_id": TEXT,
    "title": TEXT,
    "version": WHOLE,
    "content_sha256": TEXT,
    "passage_count": WHOLE,
    "updated_at_s": NUMBER,
    "scope": TEXT,
}
LIST_SCHEMA = record(
    documents={"type": "array", "items": record(**_KNOWN_OF_IT)},
    next_page_token=nullable(TEXT),
    index_version=WHOLE,
)
SCHEMA = record(
    **_KNOWN_OF_IT,
    collection=TEXT,
    text=TEXT,
    format={"enum": [each.name.lower() for each in TextFormat]},
    metadata={"type": "object", "additionalProperties": TEXT},
    uri=TEXT,
    unsplit=FLAG,
)
_LOOKED_AT = record(collection=TEXT, is_empty=FLAG, index_version=WHOLE)
_MADE = record(collection=TEXT, created=FLAG, index_version=WHOLE)
_DROPPED = record(collection=TEXT, deleted_count=WHOLE, index_version=WHOLE)


class Documents:
    """Lets callers look at documents and collections, and delete them.

    Args:
        client: retrieval; None if the edge was given none.
    """

    def __init__(self, client: RetrievalClient | None) -> None:
        self._given = client

    def operations(self) -> tuple[Operation, ...]:
        """Return what this can do."""
        return (*self._of_documents(), *self._of_collections())

    def _of_documents(self) -> tuple[Operation, ...]:
        return (
            Operation(
                "GET",
                PATH,
                "listDocuments",
                "List a collection's documents by id, without their text.",
                self._list,
                _READ,
                {200: Reply("A page of documents.", {JSON: LIST_SCHEMA})},
                parameters=(_IN, PAGE_SIZE, PAGE_TOKEN),
                refusals=(404,),
            ),
            Operation(
                "GET",
                _DOCUMENT_PATH,
                "getDocument",
                "Return a document, whole.",
                self._get,
                _READ,
                {
                    200: Reply("The document.", {JSON: SCHEMA}, {"ETag": "Its version."}),
                    304: Reply("It has not changed."),
                },
                parameters=(_DOCUMENT, _IN, _KNOWN),
                refusals=(404,),
            ),
            Operation(
                "DELETE",
                _DOCUMENT_PATH,
                "deleteDocument",
                "Delete a document; answers from it are not given again.",
                self._delete,
                _WRITE,
                {204: Reply("It is gone.")},
                parameters=(_DOCUMENT, _IN),
                refusals=(404,),
            ),
        )

    def _of_collections(self) -> tuple[Operation, ...]:
        made = Reply("The collection was made.", {JSON: _MADE})
        there = Reply("The collection was there.", {JSON: _MADE})
        looked = Reply("What there is to say of it.", {JSON: _LOOKED_AT})
        return (
            self._of_collection(
                "GET", "getCollection", "Look at a collection.", self._look, _READ, {200: looked}
            ),
            self._of_collection(
                "PUT",
                "putCollection",
                "Make a collection; one that is there stays as it is.",
                self._make,
                _WRITE,
                {201: made, 200: there},
            ),
            self._of_collection(
                "DELETE",
                "deleteCollection",
                "Delete a collection and all its documents.",
                self._drop,
                _WRITE,
                {200: Reply("It is gone.", {JSON: _DROPPED})},
            ),
        )

    def _of_collection(
        self, method: str, name: str, summary: str, handle: Any, right: str, replies: Any
    ) -> Operation:
        return Operation(
            method,
            _COLLECTION_PATH,
            name,
            summary,
            handle,
            right,
            replies,
            parameters=(_COLLECTION,),
            refusals=(404,),
        )

    @property
    def _client(self) -> RetrievalClient:
        if self._given is None:
            detail = "There are no documents here: EDGE_RETRIEVAL_TARGET is not set."
            raise ProblemError(Problem(503, "DOCUMENTS_NOT_CONFIGURED", detail))
        return self._given

    async def _list(self, exchange: Exchange) -> Response:
        (size, token), caller = page_of(exchange.request.query_params), exchange.caller
        page = await exchange.while_here(
            self._client.list(
                caller.tenant_id,
                _collection_of(exchange),
                page_size=size,
                page_token=token,
                limit_s=_CALL_S,
            )
        )
        shown = [_state(each) for each in page.documents if caller.may_name(each.scope)]
        return json_response(
            {
                "documents": shown,
                "next_page_token": page.next_page_token or None,
                "index_version": page.index_version,
            }
        )

    async def _get(self, exchange: Exchange) -> Response:
        found = await exchange.while_here(self._found(exchange))
        tag = f"{found.state.version}-{found.state.content_sha256[:16]}"
        # It may be kept to be compared, by nobody but its owner.
        headers = {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"}
        if tags_of(exchange.request.headers.get("if-none-match")) & {tag, "*"}:
            return Response(status_code=304, headers=headers)
        document = asdict(found.document) | {"format": found.document.format.name.lower()}
        members = document | _state(found.state) | {"collection": _collection_of(exchange)}
        return json_response(members, headers=headers)

    async def _found(self, exchange: Exchange) -> StoredDocument:
        """Return a document that the caller may see.

        Raises:
            DocumentNotFoundError: there is none of that name.
        """
        caller, document_id = exchange.caller, exchange.path("document")
        found = await self._client.get(
            caller.tenant_id, _collection_of(exchange), document_id, limit_s=_CALL_S
        )
        if not caller.may_name(found.document.scope):
            raise _unknown(document_id)
        return found

    async def _delete(self, exchange: Exchange) -> Response:
        await exchange.while_here(self._deleted(exchange))
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

    async def _deleted(self, exchange: Exchange) -> None:
        caller, document_id = exchange.caller, exchange.path("document")
        if ALL not in caller.document_scopes:
            await self._found(exchange)
        deleted = await self._client.delete(
            caller.tenant_id, _collection_of(exchange), [document_id], limit_s=_CALL_S
        )
        if not deleted.deleted_count:
            raise _unknown(document_id)

    async def _look(self, exchange: Exchange) -> Response:
        name = exchange.path("collection")
        page = await exchange.while_here(
            self._client.list(exchange.caller.tenant_id, name, page_size=1, limit_s=_CALL_S)
        )
        members = {"is_empty": not page.documents, "index_version": page.index_version}
        return json_response({"collection": name} | members)

    async def _make(self, exchange: Exchange) -> Response:
        name = exchange.path("collection")
        made = await exchange.while_here(
            self._client.create_collection(exchange.caller.tenant_id, name, limit_s=_CALL_S)
        )
        members = {"collection": name, "created": made.created, "index_version": made.index_version}
        return json_response(members, 201 if made.created else 200)

    async def _drop(self, exchange: Exchange) -> Response:
        name, caller = exchange.path("collection"), exchange.caller
        if ALL not in caller.document_scopes:
            detail = "Documents of scopes that are not yours would be deleted with it."
            raise ProblemError(Problem(403, "SCOPE_NOT_ALLOWED", detail))
        gone = await exchange.while_here(
            self._client.delete_collection(caller.tenant_id, name, limit_s=_DELETE_S)
        )
        members = {"deleted_count": gone.deleted_count, "index_version": gone.index_version}
        return json_response({"collection": name} | members)


def _collection_of(exchange: Exchange) -> str:
    return exchange.request.query_params.get("collection", DEFAULT_COLLECTION)


def _state(state: DocumentState) -> dict[str, Any]:
    return asdict(state)


def _unknown(document_id: str) -> DocumentNotFoundError:
    message = f"the collection has no document {document_id!r}"
    return DocumentNotFoundError(message, document_id=document_id)
