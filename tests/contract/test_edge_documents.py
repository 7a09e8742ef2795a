"""Documents and collections over real HTTP, before a real retrieval service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from jsonschema import validate

from libs.clients import Connection
from libs.clients.retrieval import RetrievalClient
from libs.server.testing import serving
from libs.values.retrieval import Document
from services.edge.documents.operations import LIST_SCHEMA, SCHEMA
from services.retrieval.servicer import RetrievalServicer
from tests.support.job_edge import DEFAULT, caller, edge_before
from tests.support.retrieval import HashingEmbedder, library_in

SETTING = replace(
    DEFAULT,
    guests={
        "rival": caller("rival"),
        "reader": caller("acme", frozenset({"documents.read"})),
        "clerk": caller("acme", scopes=frozenset({"hr"})),
    },
)


def as_(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    async with (
        library_in(tmp_path, HashingEmbedder()) as library,
        serving(RetrievalServicer(library).register) as address,
        Connection.open(address) as opened,
    ):
        yield opened


@pytest.fixture
async def retrieval(connection: Connection) -> RetrievalClient:
    client = RetrievalClient(connection)
    await client.create_collection("acme", "default")
    return client


@pytest.fixture
async def http(
    connection: Connection, retrieval: RetrievalClient
) -> AsyncIterator[httpx.AsyncClient]:
    async with edge_before(connection, retrieval=retrieval, setting=SETTING) as opened:
        yield opened


CATS = Document("animals/cats", "Cats sleep.", title="Cats", metadata={"lang": "en"}, uri="u")


async def test_a_document_is_returned_whole(
    http: httpx.AsyncClient, retrieval: RetrievalClient
) -> None:
    await retrieval.upsert("acme", "default", [CATS])
    response = await http.get("/v1/documents/animals/cats")
    found = response.json()
    assert (found["document_id"], found["text"], found["title"]) == (
        "animals/cats",
        "Cats sleep.",
        "Cats",
    )
    assert (found["format"], found["metadata"], found["uri"]) == ("plain", {"lang": "en"}, "u")
    assert (found["collection"], found["scope"], found["passage_count"]) == ("default", "", 1)
    assert (await http.get("/v1/documents/animals%2Fcats")).json() == found
    validate(found, SCHEMA)


async def test_a_document_has_an_etag_that_changes_with_it(
    http: httpx.AsyncClient, retrieval: RetrievalClient
) -> None:
    await retrieval.upsert("acme", "default", [CATS])
    tag = (await http.get("/v1/documents/animals/cats")).headers["etag"]
    known = {"If-None-Match": f'"other", W/{tag}'}
    same = await http.get("/v1/documents/animals/cats", headers=known)
    assert (same.status_code, same.content) == (304, b"")
    await retrieval.upsert("acme", "default", [replace(CATS, text="Cats purr.")])
    changed = await http.get("/v1/documents/animals/cats", headers=known)
    assert (changed.status_code, changed.json()["text"]) == (200, "Cats purr.")


async def test_documents_are_listed_in_pages(
    http: httpx.AsyncClient, retrieval: RetrievalClient
) -> None:
    await retrieval.upsert(
        "acme", "default", [Document(f"d{number}", "Text.") for number in range(5)]
    )
    first = (await http.get("/v1/documents?page_size=3")).json()
    token = first["next_page_token"]
    second = (await http.get(f"/v1/documents?page_size=3&page_token={token}")).json()
    listed = [each["document_id"] for each in first["documents"] + second["documents"]]
    assert listed == [f"d{number}" for number in range(5)]
    assert second["next_page_token"] is None
    validate(first, LIST_SCHEMA)
    validate(second, LIST_SCHEMA)
    bad = await http.get("/v1/documents?page_size=0")
    assert (bad.status_code, bad.json()["field"]) == (400, "page_size")


async def test_a_deleted_document_is_gone(
    http: httpx.AsyncClient, retrieval: RetrievalClient
) -> None:
    await retrieval.upsert("acme", "default", [CATS])
    path = "/v1/documents/animals/cats"
    assert (await http.delete(path, headers=as_("reader"))).status_code == 403
    assert (await http.delete(path, headers=as_("rival"))).status_code == 404
    deleted = await http.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    for again in (await http.delete(path), await http.get(path)):
        assert (again.status_code, again.json()["reason"]) == (404, "DOCUMENT_NOT_FOUND")


async def test_a_document_in_a_scope_is_there_for_those_who_may_name_it(
    http: httpx.AsyncClient, retrieval: RetrievalClient
) -> None:
    await retrieval.upsert(
        "acme",
        "default",
        [
            Document("open", "For all."),
            Document("own", "For hr.", scope="hr"),
            Document("secret", "For the board.", scope="board"),
        ],
    )
    clerk = as_("clerk")
    assert (await http.get("/v1/documents/own", headers=clerk)).status_code == 200
    assert (await http.get("/v1/documents/secret", headers=clerk)).status_code == 404
    assert (await http.delete("/v1/documents/secret", headers=clerk)).status_code == 404
    listed = (await http.get("/v1/documents", headers=clerk)).json()["documents"]
    assert [each["document_id"] for each in listed] == ["open", "own"]
    refused = await http.delete("/v1/collections/default", headers=clerk)
    assert (refused.status_code, refused.json()["reason"]) == (403, "SCOPE_NOT_ALLOWED")
    assert (await http.get("/v1/documents/secret")).status_code == 200


async def test_a_collection_is_made_looked_at_and_deleted(
    http: httpx.AsyncClient, retrieval: RetrievalClient
) -> None:
    path = "/v1/collections/manuals"
    assert (await http.get(path)).json()["reason"] == "COLLECTION_NOT_FOUND"
    made, again = await http.put(path), await http.put(path)
    assert (made.status_code, made.json()["created"]) == (201, True)
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert (await http.get(path)).json()["is_empty"]
    await retrieval.upsert("acme", "manuals", [CATS])
    assert not (await http.get(path)).json()["is_empty"]
    assert (await http.get(path, headers=as_("rival"))).status_code == 404
    assert (await http.delete(path)).json()["deleted_count"] == 1
    assert (await http.get(path)).status_code == 404
    bad = await http.put("/v1/collections/no%20name")
    assert (bad.status_code, bad.json()["field"]) == (400, "collection")


async def test_what_is_not_there_is_not_found(http: httpx.AsyncClient) -> None:
    unknown = await http.get("/v1/documents/none?collection=default")
    assert (unknown.status_code, unknown.json()["reason"]) == (404, "DOCUMENT_NOT_FOUND")
    nowhere = await http.get("/v1/documents?collection=none")
    assert (nowhere.status_code, nowhere.json()["reason"]) == (404, "COLLECTION_NOT_FOUND")


async def test_without_a_retrieval_service_it_says_so(connection: Connection) -> None:
    async with edge_before(connection) as http:
        for path in ("/v1/documents", "/v1/documents/a", "/v1/collections/a"):
            response = await http.get(path)
            problem = (response.status_code, response.json()["reason"])
            assert problem == (503, "DOCUMENTS_NOT_CONFIGURED")
