"""What is not a request is refused by its field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import duration_pb2

from hasten.cache.v1 import cache_service_pb2 as pb
from hasten.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from libs.clients import Connection
from libs.clients.cache import CacheClient
from libs.errors import InvalidFieldError
from libs.server.testing import serving
from libs.values import CacheLayer, Event, Plan, Quality, Revised, TextDelta, Verdict
from libs.values.cache import Lookup, WithTag
from services.cache.__main__ import build
from services.cache.config import CacheConfig
from tests.unit.cache.parts import answer, decided, exact, numbered, prompted, semantic, vector


@pytest.mark.parametrize(
    ("event", "kind"),
    [(Revised("r"), "revised"), (Plan("r", "t", "p", 1.0, 1.0, Quality.FULL), "plan")],
)
async def test_events_that_cannot_be_replayed_are_refused(
    cache: CacheClient, event: Event, kind: str
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        await cache.store(answer(events=numbered(TextDelta("a"), event)))
    problem = f"must be one of sources, text_delta, outline, section_text, citation, is {kind}"
    assert str(caught.value) == f"events[1]: {problem}"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"question": ""}, "asked.question"),
        ({"entry_id": ""}, "entry_id"),
        ({"events": ()}, "events"),
        ({"events": numbered(TextDelta("x" * 2_000_000))}, "events"),
        ({"quality": Quality.UNSPECIFIED}, "quality"),
        ({"embedding": b"abc"}, "embedding"),
        ({"embedding": vector(1.0) + vector(1.0)}, "embedding"),
        ({"prompt_sha256": b"short"}, "prompt_sha256"),
        ({"tags": ("x",) * 17}, "tags"),
        ({"tags": ("x" * 65,)}, "tags[0]"),
        ({"tenant_id": ""}, "tenant_id"),
    ],
)
async def test_an_answer_that_cannot_be_kept_names_the_field(
    cache: CacheClient, wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        await cache.store(answer(**wrong))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("lookup", "field"),
    [
        (replace(exact(), layer=CacheLayer.NONE), "layer"),
        (replace(exact(), asked=None), "asked"),
        (prompted(b""), "prompt_sha256"),
        (semantic(b""), "embedding"),
        (semantic(b"\0" * 32), "embedding"),
        (semantic(embedding_fingerprint=""), "embedding_fingerprint"),
    ],
)
async def test_a_lookup_that_lacks_something_names_the_field(
    cache: CacheClient, lookup: Lookup, field: str
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        await decided(cache, lookup)
    assert caught.value.field == field


async def test_a_report_and_an_invalidation_must_say_what(cache: CacheClient) -> None:
    for refused, field in (
        (cache.report("acme", "run-1", Verdict.UNSPECIFIED), "verdict"),
        (cache.report("acme", "", Verdict.BAD), "entry_id"),
        (cache.invalidate("acme", WithTag("")), "tag"),
    ):
        with pytest.raises(InvalidFieldError) as caught:
            await refused
        assert caught.value.field == field


async def _read(connection: Connection, method: Any, request: Any) -> None:
    async with connection.stream(method, request) as messages:
        await anext(messages)


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("LookupAnswer", pb.LookupAnswerRequest(layer=9), "layer"),  # type: ignore[arg-type]
        (
            "LookupAnswer",
            pb.LookupAnswerRequest(layer=1, minimum_quality=56),  # type: ignore[arg-type]
            "minimum_quality",
        ),
        ("FindAnswer", pb.FindAnswerRequest(layer=9), "layer"),  # type: ignore[arg-type]
        (
            "FindAnswer",
            pb.FindAnswerRequest(layer=1, minimum_quality=56),  # type: ignore[arg-type]
            "minimum_quality",
        ),
        ("StoreAnswer", pb.StoreAnswerRequest(finish_reason=99), "finish_reason"),  # type: ignore[arg-type]
        ("StoreAnswer", pb.StoreAnswerRequest(events=[{}]), "events[0]"),
        ("ReportAnswer", pb.ReportAnswerRequest(entry_id="a", verdict=9), "verdict"),  # type: ignore[arg-type]
        ("InvalidateAnswers", pb.InvalidateAnswersRequest(), "selector"),
        ("InvalidateAnswers", pb.InvalidateAnswersRequest(everything=False), "selector"),
        (
            "InvalidateAnswers",
            pb.InvalidateAnswersRequest(older_than=duration_pb2.Duration(seconds=-1)),
            "older_than",
        ),
    ],
    ids=range(10),
)
async def test_what_no_client_of_ours_would_send_is_refused_by_its_field(
    redis_url: str, retrieval: str, method: str, request_: Any, field: str
) -> None:
    config = CacheConfig(redis_url=redis_url, retrieval_target=retrieval)
    request_.tenant_id = "acme"
    async with (
        build(config) as served,
        serving(served.register) as address,
        Connection.open(address) as connection,
    ):
        stub = CacheServiceStub(connection.channel)
        called = getattr(stub, method)
        with pytest.raises(InvalidFieldError) as caught:
            await (_read if method == "LookupAnswer" else Connection.unary)(
                connection, called, request_
            )
    assert caught.value.field == field
