from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest
from jsonschema import Draft202012Validator

from libs.errors import InvalidFieldError
from services.orchestrator.schema import check_schema, satisfies


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A web server, and what is fetched from it."""
    fetched: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"type": "string"}')

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/schema", fetched
        server.shutdown()
        thread.join()


def test_a_schema_that_refers_to_another_is_refused_and_nothing_is_fetched_for_it(
    listener: tuple[str, list[str]],
) -> None:
    url, fetched = listener
    schema = json.dumps({"properties": {"a": {"$ref": url}}})
    with pytest.raises(InvalidFieldError, match="must not refer to other schemas"):
        check_schema(schema)
    assert not satisfies('{"a": "x"}', schema)
    assert fetched == []


@pytest.mark.parametrize("schema", ['{"$ref": "#"}', '{"$ref": "#/$defs/gone"}'])
def test_a_schema_that_cannot_be_applied_admits_nothing(schema: str) -> None:
    check_schema(schema)
    assert not satisfies("1", schema)


def test_a_schema_may_refer_to_its_own_parts() -> None:
    schema = json.dumps({"$ref": "#/$defs/year", "$defs": {"year": {"type": "integer"}}})
    check_schema(schema)
    assert satisfies("1821", schema)
    assert not satisfies('"1821"', schema)


def test_a_pattern_that_is_none_admits_nothing() -> None:
    schema = '{"type": "object", "properties": {"a": {"pattern": "("}}}'
    assert not satisfies('{"a": "b"}', schema)


@pytest.mark.parametrize("dialect", [{}, {"$schema": Draft202012Validator.META_SCHEMA["$id"]}])
def test_a_schema_that_takes_days_admits_nothing_within_a_second(dialect: dict[str, str]) -> None:
    twice = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2, **dialect} for n in range(40)}
    schema = json.dumps({"$ref": "#/$defs/a0", "$defs": {**twice, "a40": {}}, **dialect})
    check_schema(schema)
    assert not satisfies("1", schema)


def test_a_schema_that_names_its_dialect_admits_what_it_says() -> None:
    dialect = Draft202012Validator.META_SCHEMA["$id"]
    schema = json.dumps({"$schema": dialect, "properties": {"$schema": {"type": "string"}}})
    assert satisfies('{"$schema": "x"}', schema)
    assert not satisfies('{"$schema": 1}', schema)
