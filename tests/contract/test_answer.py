"""What the answer service refuses, and how it says so."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from grpc import aio

from hasten.answer.v1 import answer_service_pb2 as pb
from hasten.answer.v1.answer_service_pb2_grpc import AnswerServiceStub
from hasten.common.v1 import common_pb2
from libs.budget import Budget, spending
from libs.clients import Connection
from libs.errors import (
    BudgetExhaustedError,
    CollectionNotFoundError,
    DimensionMismatchError,
    FingerprintMismatchError,
    InvalidFieldError,
    MeshError,
    PolicyNotFoundError,
    RunNotFoundError,
    TenantNotAllowedError,
    UnauthenticatedError,
)
from libs.values import Completed
from libs.values.retrieval import PassageList, SearchQuery
from tests.support.corpus import FACTS, TENANT
from tests.support.mesh import KNOWN, MESH_TOKEN, TENANTS_TOKEN, Mesh, Setting, open_mesh
from tests.support.valkey import Valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION = FACTS[0].question
FILTER = common_pb2.Filter(key="lang", any_of=["en"])
TURN = common_pb2.Turn(role=common_pb2.ROLE_USER, text="Hello.")
TOKEN = (("authorization", f"Bearer {MESH_TOKEN}"),)
# Words that would come from the text of a foreign exception.
FOREIGN = ("Traceback", "Error(", "Exception", "<class", "object at 0x", ".py")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(
    shared_valkey: Valkey, model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mesh]:
    """A mesh that knows its callers; one of them may speak for one tenant alone."""
    home = tmp_path_factory.mktemp("mesh")
    setting = Setting(shared_valkey.url, model_dir, home, identities=KNOWN)
    async with open_mesh(setting, None) as opened:
        yield opened


def asking(**changes: Any) -> pb.StreamAnswerRequest:
    return pb.StreamAnswerRequest(**{"tenant_id": TENANT, "question": QUESTION, **changes})


def east(dimensions: int) -> bytes:
    """Return a unit vector, packed."""
    return struct.pack(f"<{dimensions}f", 1.0, *[0.0] * (dimensions - 1))


async def call(connection: Connection, method: str, request: Any) -> Any:
    """Call a method of the answer service, and return its last message."""
    stub = getattr(AnswerServiceStub(connection.channel), method)
    if method not in ("StreamAnswer", "WatchAnswer"):
        return await connection.unary(stub, request, limit_s=10)
    async with connection.stream(stub, request, limit_s=10) as messages:
        return [message async for message in messages][-1]


async def search(mesh: Mesh, query: SearchQuery) -> list[PassageList]:
    async with mesh.retrieval.search(query) as lists:
        return [each async for each in lists]


async def refusal(mesh: Mesh, request: Any, method: str = "StreamAnswer") -> MeshError:
    """Return the error that a request ends in."""
    with pytest.raises(MeshError) as caught:
        await call(mesh.connections["orchestrator"], method, request)
    assert isinstance(caught.value.__cause__, aio.AioRpcError)
    assert not any(word in str(caught.value) for word in FOREIGN), str(caught.value)
    return caught.value


BAD_FIELDS = [
    (asking(question=""), "question", "1 to 8000"),
    (asking(question="   \n"), "question", "1 to 8000"),
    (asking(question="x" * 8001), "question", "at most 8000 characters, has 8001"),
    (asking(tenant_id=""), "tenant_id", "1 to 64"),
    (asking(tenant_id="a b"), "tenant_id", "letters, digits"),
    (asking(tenant_id="x" * 65), "tenant_id", "1 to 64"),
    (asking(collection="no/slash"), "collection", "1 to 64"),
    (asking(scope="x" * 65), "scope", "1 to 64"),
    (asking(history=[TURN] * 51), "history", "at most 50 turns, has 51"),
    (asking(history=[common_pb2.Turn(text="Hi.")]), "history[0].role", "user or assistant"),
    (
        asking(history=[TURN, common_pb2.Turn(role=common_pb2.ROLE_USER)]),
        "history[1].text",
        "1 to 8000",
    ),
    (asking(filters=[FILTER] * 17), "filters", "at most 16 conditions, has 17"),
    (asking(filters=[common_pb2.Filter(key="lang")]), "filters[0].any_of", "1 to 32"),
    (asking(filters=[common_pb2.Filter(any_of=["en"])]), "filters[0].key", "1 to 64"),
    (
        asking(filters=[common_pb2.Filter(key="k", any_of=["v"] * 33)]),
        "filters[0].any_of",
        "at most 32 values, has 33",
    ),
    (
        asking(filters=[common_pb2.Filter(key="k", any_of=["v" * 257])]),
        "filters[0].any_of[0]",
        "at most 256 characters, has 257",
    ),
    (asking(minimum_quality=7), "minimum_quality", "7"),
    (asking(cache_control=99), "cache_control", "99"),
    (asking(render=99), "render", "99"),
    (asking(history=[common_pb2.Turn(role=9, text="Hi.")]), "history[0].role", "9"),
    (asking(output_schema="{"), "output_schema", "JSON Schema"),
    (asking(output_schema='{"type": 7}'), "output_schema", "JSON Schema"),
    (asking(output_schema=" " * 16_385), "output_schema", "at most 16384 bytes, has 16385"),
]


@pytest.mark.parametrize(
    ("request_", "field", "limit"),
    BAD_FIELDS,
    ids=[f"{number}-{field}" for number, (_, field, _) in enumerate(BAD_FIELDS)],
)
async def test_a_bad_field_is_named_with_its_limit(
    mesh: Mesh, request_: pb.StreamAnswerRequest, field: str, limit: str
) -> None:
    error = await refusal(mesh, request_)
    assert isinstance(error, InvalidFieldError)
    assert error.field == field
    assert limit in error.problem
    assert str(error) == f"{field}: {error.problem}"


async def test_what_is_at_its_limit_is_taken(mesh: Mesh) -> None:
    request = asking(
        question=QUESTION.ljust(8000),
        history=[TURN] * 50,
        filters=[common_pb2.Filter(key="k" * 64, any_of=["v" * 256] * 32)] * 16,
    )
    last = await call(mesh.connections["orchestrator"], "StreamAnswer", request)
    assert last.events[-1].HasField("completed")


async def test_a_collection_that_is_not_there_is_not_found(mesh: Mesh) -> None:
    error = await refusal(mesh, asking(collection="elsewhere"))
    assert isinstance(error, CollectionNotFoundError)
    assert "elsewhere" in str(error)


async def test_a_policy_that_is_not_there_is_not_found(mesh: Mesh) -> None:
    error = await refusal(mesh, asking(policy="lavish"))
    assert isinstance(error, PolicyNotFoundError)
    assert "policy: 'lavish' is not one of" in str(error)


@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_first_text_in_the_past_is_refused(mesh: Mesh, seconds: int) -> None:
    request = asking()
    request.first_text_by.seconds = seconds
    request.first_text_by.SetInParent()
    error = await refusal(mesh, request)
    assert isinstance(error, BudgetExhaustedError)
    assert "first_text_by" in str(error)
    assert error.metadata.keys() >= {"hop", "needed_ms", "had_ms"}


async def test_a_deadline_in_the_past_is_refused_before_anything_is_sent(mesh: Mesh) -> None:
    with spending(Budget.of(0.0)), pytest.raises(BudgetExhaustedError, match="0.0 ms left"):
        await mesh.ask(QUESTION)


async def test_a_request_that_is_no_message_is_refused(mesh: Mesh) -> None:
    channel = mesh.connections["orchestrator"].channel
    method = "/hasten.answer.v1.AnswerService/StreamAnswer"
    with pytest.raises(aio.AioRpcError) as caught:
        await anext(aiter(channel.unary_stream(method)(b"\xff\xff\xff", metadata=TOKEN)))
    assert caught.value.code().name == "INVALID_ARGUMENT"
    assert not any(word in (caught.value.details() or "") for word in FOREIGN)


@pytest.mark.parametrize("method", ["WatchAnswer", "StopAnswer", "ReportAnswer"])
async def test_a_run_that_is_not_there_is_not_found(mesh: Mesh, method: str) -> None:
    kind = getattr(pb, f"{method}Request")
    more = {"verdict": pb.VERDICT_BAD} if method == "ReportAnswer" else {}
    missing = kind(tenant_id=TENANT, run_id="0" * 32, **more)
    assert isinstance(await refusal(mesh, missing, method), RunNotFoundError)
    for run_id in ("", "x" * 65):
        error = await refusal(mesh, kind(tenant_id=TENANT, run_id=run_id, **more), method)
        assert isinstance(error, InvalidFieldError)
        assert error.field == "run_id"


async def test_a_position_below_zero_and_a_missing_verdict_are_refused(mesh: Mesh) -> None:
    position = pb.WatchAnswerRequest(tenant_id=TENANT, run_id="0" * 32, after_sequence=-1)
    verdict = pb.ReportAnswerRequest(tenant_id=TENANT, run_id="0" * 32)
    unknown = pb.ReportAnswerRequest(tenant_id=TENANT, run_id="0" * 32, verdict=9)  # type: ignore[arg-type]
    for request, method, field in (
        (position, "WatchAnswer", "after_sequence"),
        (verdict, "ReportAnswer", "verdict"),
        (unknown, "ReportAnswer", "verdict"),
    ):
        error = await refusal(mesh, request, method)
        assert isinstance(error, InvalidFieldError)
        assert error.field == field


@pytest.mark.parametrize("method", ["StreamAnswer", "WatchAnswer", "StopAnswer", "ReportAnswer"])
async def test_an_identity_speaks_for_its_own_tenant_alone(mesh: Mesh, method: str) -> None:
    connection = await mesh.connect("orchestrator", TENANTS_TOKEN)
    more: dict[str, Any] = {"question": QUESTION} if method == "StreamAnswer" else {"run_id": "0"}
    for tenant_id in ("rival", "*"):
        request = getattr(pb, f"{method}Request")(tenant_id=tenant_id, **more)
        with pytest.raises(TenantNotAllowedError):
            await call(connection, method, request)


async def test_a_caller_that_nobody_knows_is_refused(mesh: Mesh) -> None:
    connection = await mesh.connect("orchestrator", "made-up")
    with pytest.raises(UnauthenticatedError):
        await call(connection, "StreamAnswer", asking())


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (SearchQuery(TENANT, "default", "Why?", east(3), "any"), DimensionMismatchError),
        (
            SearchQuery(TENANT, "default", "Why?", east(384), "any"),
            FingerprintMismatchError,
        ),
        (SearchQuery(TENANT, "default", "Why?", b"\0\0\x80"), InvalidFieldError),
        (SearchQuery(TENANT, "default", "Why?", limit=10_000), InvalidFieldError),
        (SearchQuery(TENANT, "elsewhere", "Why?"), CollectionNotFoundError),
    ],
)
async def test_retrieval_refuses_what_it_cannot_search(
    mesh: Mesh, query: SearchQuery, error: type[MeshError]
) -> None:
    with pytest.raises(error) as caught:
        await search(mesh, query)
    assert not any(word in str(caught.value) for word in FOREIGN)


async def test_what_was_refused_left_nothing_behind(mesh: Mesh) -> None:
    await refusal(mesh, asking(question="Who is there?", collection="elsewhere"))
    told = await mesh.ask("Who is there?")
    assert isinstance(told.events[-1].event, Completed)
    assert told.layer == ""
