"""The edge keeps to its OpenAPI document, whatever it is sent."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from blockbuster import BlockBuster
from schemathesis import GenerationMode

from libs.clients import Connection
from libs.clients.retrieval import RetrievalClient
from libs.server.testing import serving
from libs.values import Citation, Passage, Sources, TextDelta
from libs.values.retrieval import Document
from services.retrieval.servicer import RetrievalServicer
from tests.support import openapi_page
from tests.support.attack import Attack
from tests.support.edges import COMPLETED, PLAN, Edge, Replica, Story, open_edge
from tests.support.job_edge import edge_before
from tests.support.job_service import jobs_running
from tests.support.retrieval import HashingEmbedder, library_in

PASSAGE = Passage("d1:1:0", "d1", 1, "Sky", "", "Blue light scatters.", 0, 20)
CITATION = Citation(0, "d1", "Blue light scatters.", 0, 20, 8)
PAGE = Path(__file__).parents[2] / "docs/reference/openapi.json"
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
FEW, MANY = 4, 100
# Hypothesis wants nobody else to draw from `random` while it makes a request, and the workers
# of this process do, for their waits. Which requests are made does not hang on that.
OTHERS_DRAW = pytest.mark.filterwarnings(
    "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
)


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    story = Story([PLAN, Sources((PASSAGE,), 7, "fused"), TextDelta("Because"), CITATION])
    story.tell(COMPLETED)
    async with (
        serving(Replica(story).register) as address,
        Connection.open(address) as connection,
        open_edge(connection) as opened,
    ):
        yield opened


@dataclass
class Whole:
    """An edge that has jobs and documents behind it, one of each.

    Attributes:
        http: asks it.
        known: the names of what there is.
    """

    http: httpx.AsyncClient
    known: dict[str, str]


@pytest.fixture
async def whole(tmp_path: Path, redis_url: str, no_blocking: BlockBuster) -> AsyncIterator[Whole]:
    async with (
        library_in(tmp_path, HashingEmbedder()) as library,
        serving(RetrievalServicer(library).register) as address,
        Connection.open(address) as connection,
        jobs_running(redis_url, no_blocking) as jobs,
    ):
        retrieval = RetrievalClient(connection)
        await retrieval.create_collection("acme", "default")
        await retrieval.upsert("acme", "default", [Document("d1", "Cats sleep.", title="Cats")])
        opened = edge_before(connection, jobs=jobs.client, retrieval=retrieval)
        async with opened as http:
            job = (await http.post("/v1/jobs", json={"kind": "steps", "input": {}})).json()
            await http.get(f"/v1/jobs/{job['job_id']}?wait=30")
            known = {"job": job["job_id"], "document": "d1", "collection": "default"}
            yield Whole(http, known)


async def attacked(
    http: httpx.AsyncClient, mode: GenerationMode, count: int, **known: str
) -> Attack:
    """Attack an edge, and return what came of it."""
    document = (await http.get("/openapi.json")).json()
    attack = Attack(document, str(http.base_url).rstrip("/"), mode, count, known)
    await asyncio.to_thread(attack.run)
    return attack


@pytest.mark.parametrize("mode", MODES)
async def test_whatever_is_sent_has_an_answer_that_the_document_foresees(
    edge: Edge, mode: GenerationMode
) -> None:
    attack = await attacked(edge.http, mode, FEW, run=PLAN.run_id, model="hasten")
    assert attack.sent
    if mode is GenerationMode.POSITIVE:
        assert 200 in attack.seen["getRun"] & attack.seen["getModel"]


@OTHERS_DRAW
@pytest.mark.parametrize("mode", MODES)
async def test_whatever_is_sent_to_jobs_and_documents_has_an_answer_that_is_foreseen(
    whole: Whole, mode: GenerationMode
) -> None:
    attack = await attacked(whole.http, mode, FEW, **whole.known)
    assert attack.sent
    if mode is GenerationMode.POSITIVE:
        assert 200 in attack.seen["getJob"] & attack.seen["listDocuments"]


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", MODES)
async def test_whatever_is_sent_many_times_has_an_answer_that_is_foreseen(
    edge: Edge, mode: GenerationMode
) -> None:
    attack = await attacked(edge.http, mode, MANY, run=PLAN.run_id, model="hasten")
    print(f"{mode.value}: {attack.sent} requests")


@pytest.mark.prove
@pytest.mark.timeout(900)
@OTHERS_DRAW
@pytest.mark.parametrize("mode", MODES)
async def test_whatever_is_sent_many_times_to_jobs_and_documents_is_foreseen(
    whole: Whole, mode: GenerationMode
) -> None:
    attack = await attacked(whole.http, mode, MANY, **whole.known)
    print(f"{mode.value}: {attack.sent} requests, {attack.seen}")


def test_the_page_says_what_the_code_does() -> None:
    assert PAGE.read_text() == openapi_page.text()


def test_each_operation_says_what_it_answers() -> None:
    for path, methods in openapi_page.document()["paths"].items():
        for method, operation in methods.items():
            for status, reply in operation["responses"].items():
                for content in reply.get("content", {}).values():
                    assert content["schema"] != {"type": "object"}, (path, method, status)


ODD = [
    ("TRACE", "/v1/answers", 405),
    ("BREW", "/v1/answers", 405),
    ("GET", "/v1/chat/completions", 405),
    ("POST", "/openapi.json", 405),
    ("GET", "/v1/runs/%00", 404),
    ("GET", "/v1/models/%00", 404),
    ("GET", "/v1/models/%FF%FE", 404),
    ("GET", "/%00", 404),
]


@pytest.mark.parametrize(("method", "path", "status"), ODD)
async def test_odd_methods_and_paths_are_refused_in_words(
    edge: Edge, method: str, path: str, status: int
) -> None:
    response = await edge.http.request(method, path)
    assert response.status_code == status
    assert ("allow" in response.headers) == (status == 405)
    kind = response.headers["content-type"]
    assert kind == "application/problem+json" or path.startswith("/v1/models")
    assert response.json()


@pytest.mark.parametrize("path", ["/v1/answers", "/v1/chat/completions"])
@pytest.mark.parametrize("value", [r'"\ud800"', "1e400", "1" + "0" * 4400, "[" * 4400])
async def test_no_value_of_json_is_too_odd(edge: Edge, path: str, value: str) -> None:
    schema = f'{{"type": "json_schema", "json_schema": {{"schema": {{"a": {value}}}}}}}'
    message = '[{"role": "user", "content": "x"}]'
    for body in (
        f'{{"question": {value}, "model": "hasten", "messages": {value}}}',
        f'{{"question": "x", "output_schema": {{"a": {value}}}}}',
        f'{{"model": "hasten", "messages": {message}, "response_format": {schema}}}',
    ):
        headers = {"Content-Type": "application/json"}
        response = await edge.http.post(path, content=body, headers=headers)
        assert response.status_code == 400
        assert json.loads(response.text)


ODD_NAMES = ["%00", "%FF%FE", "%ED%A0%80", "x" * 4000, "%F0%9F%98%80"]


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_odd_names_of_jobs_and_documents_are_refused_in_words(
    whole: Whole, name: str
) -> None:
    for place in ("jobs", "documents", "collections"):
        response = await whole.http.get(f"/v1/{place}/{name}")
        assert response.status_code in (400, 404), (place, response.text)
        assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("ttl", ["1e307", "1e20", "1e12", "2592001", "0.5", "-1", "1e400", "NaN"])
async def test_no_time_to_keep_a_result_is_too_long_to_be_refused(whole: Whole, ttl: str) -> None:
    body = f'{{"kind": "steps", "input": {{}}, "result_ttl_s": {ttl}}}'
    headers = {"Content-Type": "application/json"}
    response = await whole.http.post("/v1/jobs", content=body, headers=headers)
    assert response.status_code == 400
    assert response.json()["reason"] in ("INVALID_FIELD", "INVALID_JSON")


@pytest.mark.parametrize("value", [r'"\ud800"', "1e400", "1" + "0" * 4400, "[" * 4400])
async def test_no_input_of_a_job_is_too_odd(whole: Whole, value: str) -> None:
    body = f'{{"kind": "steps", "input": {{"a": {value}}}}}'
    headers = {"Content-Type": "application/json"}
    response = await whole.http.post("/v1/jobs", content=body, headers=headers)
    assert response.status_code == 400
    assert json.loads(response.text)
