"""The edge keeps to its OpenAPI document, whatever it is sent."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from libs.clients import Connection
from libs.server.testing import serving
from libs.values import Citation, Passage, Sources, TextDelta
from tests.support import openapi_page
from tests.support.edges import COMPLETED, PLAN, Edge, Replica, Story, open_edge

PASSAGE = Passage("d1:1:0", "d1", 1, "Sky", "", "Blue light scatters.", 0, 20)
CITATION = Citation(0, "d1", "Blue light scatters.", 0, 20, 8)
PAGE = Path(__file__).parents[2] / "docs/reference/openapi.json"
CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
# A deadline may be so short that nothing can be had in it.
_OUT_OF_TIME = 504
# This edge has answers alone; without jobs and documents their paths say so.
_NOT_THERE = "_NOT_CONFIGURED"


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


def attack(document: dict[str, Any], url: str, mode: GenerationMode, count: int) -> int:
    """Send each operation requests that are made from its schema, and check what comes."""
    schema, sent = schemathesis.openapi.from_dict(document), 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=count,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        def send(case: schemathesis.Case) -> None:
            nonlocal sent
            sent += 1
            response = case.call(base_url=url)
            is_meant = response.status_code == _OUT_OF_TIME or _NOT_THERE in response.text
            checks = CHECKS if is_meant else [*CHECKS, not_a_server_error]
            case.validate_response(response, checks=checks)

        # Of some operations no request can be wrong: they take nothing, or any text.
        with suppress(Unsatisfiable):
            send()
    return sent


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_whatever_is_sent_has_an_answer_that_the_document_foresees(
    edge: Edge, mode: GenerationMode
) -> None:
    document = (await edge.http.get("/openapi.json")).json()
    url = f"http://127.0.0.1:{edge.port}"
    assert await asyncio.to_thread(attack, document, url, mode, 4)


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_whatever_is_sent_many_times_has_an_answer_that_is_foreseen(
    edge: Edge, mode: GenerationMode
) -> None:
    document = (await edge.http.get("/openapi.json")).json()
    url = f"http://127.0.0.1:{edge.port}"
    sent = await asyncio.to_thread(attack, document, url, mode, 100)
    print(f"{mode.value}: {sent} requests")


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
