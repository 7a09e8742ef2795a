"""What the guard and the connection promise, over a real server that serves the real protocol."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc import aio

from hasten.generation.v1 import generation_service_pb2 as pb
from hasten.generation.v1.generation_service_pb2_grpc import (
    GenerationServiceServicer,
    GenerationServiceStub,
    add_GenerationServiceServicer_to_server,
)
from libs.budget import Budget, current_budget, spending
from libs.clients import Connection
from libs.errors import (
    BudgetExhaustedError,
    InternalError,
    InvalidFieldError,
    MeshError,
    OverloadedError,
    TenantNotAllowedError,
    UnauthenticatedError,
    UnreachableError,
)
from libs.server import Identities, Identity, current_call
from libs.server.testing import serving

Behave = Callable[[], Awaitable[None]]
ASK = pb.GenerateTextRequest(tenant_id="acme", question="Why?")


class Playful(GenerationServiceServicer):
    """Does in each method what the test says, and remembers how that ended."""

    def __init__(self) -> None:
        self.behave: Behave = self._return
        self.ended = asyncio.Event()
        self.outcome = ""
        self.seen: dict[str, Any] = {}

    async def _return(self) -> None:
        return None

    def register(self, server: aio.Server) -> None:
        add_GenerationServiceServicer_to_server(self, server)

    async def ListModels(self, request: Any, context: Any) -> pb.ListModelsResponse:
        await self._run()
        return pb.ListModelsResponse()

    async def GenerateText(
        self, request: Any, context: Any
    ) -> AsyncIterator[pb.GenerateTextResponse]:
        yield pb.GenerateTextResponse()
        await self._run()

    async def _run(self) -> None:
        self.seen = {"budget": current_budget(), "call": current_call()}
        try:
            await self.behave()
            self.outcome = "returned"
        except BaseException as error:
            self.outcome = type(error).__name__
            raise
        finally:
            self.ended.set()


@pytest.fixture
def servicer() -> Playful:
    return Playful()


@pytest.fixture
async def connection(servicer: Playful) -> AsyncIterator[Connection]:
    async with serving(servicer.register, max_concurrency=2) as address:
        async with Connection.open(address) as opened:
            yield opened


def stub(connection: Connection) -> Any:
    return GenerationServiceStub(connection.channel)


async def forever() -> None:
    await asyncio.Event().wait()


async def list_models(connection: Connection, **kwargs: Any) -> Any:
    return await connection.unary(stub(connection).ListModels, pb.ListModelsRequest(), **kwargs)


async def test_a_budget_becomes_the_deadline_of_the_next_hop(
    servicer: Playful, connection: Connection
) -> None:
    with spending(Budget.of(2.0)):
        await list_models(connection)
    assert 1.5 < servicer.seen["budget"].remaining_s() < 2.05
    with spending(Budget.of(60.0)):
        await list_models(connection, limit_s=0.9)
    # gRPC counts the deadline from the arrival, on another clock: equal but for jitter.
    assert 0.5 < servicer.seen["budget"].remaining_s() < 0.95


async def test_a_hop_does_not_start_without_time(servicer: Playful, connection: Connection) -> None:
    with spending(Budget.of(0.0)), pytest.raises(BudgetExhaustedError, match="0.0 ms left"):
        await list_models(connection)
    assert not servicer.ended.is_set()


async def test_time_on_the_way_is_measured_without_a_common_clock(
    servicer: Playful, connection: Connection
) -> None:
    for limit_s in (0.8, 3.333, 42.0):
        await list_models(connection, limit_s=limit_s)
        assert 0 <= servicer.seen["call"].queue_s < 0.1


async def test_a_deadline_ends_the_hop_and_says_so(
    servicer: Playful, connection: Connection
) -> None:
    servicer.behave = forever
    with pytest.raises(BudgetExhaustedError):
        await list_models(connection, limit_s=0.1)
    await asyncio.wait_for(servicer.ended.wait(), 2)
    assert servicer.outcome == "CancelledError"


async def test_leaving_a_stream_cancels_it_at_once(
    servicer: Playful, connection: Connection
) -> None:
    servicer.behave = forever
    async with connection.stream(stub(connection).GenerateText, ASK) as messages:
        await anext(messages)
        left_s = time.monotonic()
    await asyncio.wait_for(servicer.ended.wait(), 2)
    assert servicer.outcome == "CancelledError"
    assert time.monotonic() - left_s < 1


async def test_a_cancelled_caller_cancels_its_call(
    servicer: Playful, connection: Connection
) -> None:
    servicer.behave = forever
    calling = asyncio.create_task(list_models(connection))
    await asyncio.sleep(0.05)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await asyncio.wait_for(servicer.ended.wait(), 2)
    assert servicer.outcome == "CancelledError"


async def test_a_foreign_cancellation_becomes_a_status(
    servicer: Playful, connection: Connection
) -> None:
    async def await_a_cancelled_task() -> None:
        hedge = asyncio.create_task(forever())
        hedge.cancel()
        await hedge

    servicer.behave = await_a_cancelled_task
    with pytest.raises(InternalError):
        await asyncio.wait_for(list_models(connection), 5)


async def test_an_error_arrives_as_the_class_that_was_raised(
    servicer: Playful, connection: Connection
) -> None:
    async def refuse() -> None:
        raise OverloadedError("full", retry_after_s=1.5, limit=7)

    servicer.behave = refuse
    with pytest.raises(OverloadedError, match="full") as caught:
        await list_models(connection)
    assert caught.value.retry_after_s == 1.5
    assert caught.value.metadata == {"limit": "7"}


async def test_a_field_error_names_field_and_limit_in_a_bad_request(
    servicer: Playful, connection: Connection
) -> None:
    async def refuse() -> None:
        raise InvalidFieldError("question", "must have at most 8000 characters, has 9000")

    servicer.behave = refuse
    with pytest.raises(InvalidFieldError) as caught:
        await list_models(connection)
    assert caught.value.field == "question"
    assert caught.value.problem == "must have at most 8000 characters, has 9000"


async def test_the_text_of_an_exception_never_reaches_a_caller(
    servicer: Playful, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async def leak() -> None:
        msg = "password is swordfish"
        raise ValueError(msg)

    servicer.behave = leak
    with pytest.raises(InternalError) as caught:
        await list_models(connection)
    assert "swordfish" not in str(caught.value)
    assert "ValueError" not in str(caught.value)
    incident = caught.value.metadata["incident"]
    assert incident in caplog.text
    assert "swordfish" in caplog.text


async def test_bytes_that_are_no_message_are_a_bad_request(connection: Connection) -> None:
    raw = connection.channel.unary_unary("/hasten.generation.v1.GenerationService/ListModels")
    with pytest.raises(aio.AioRpcError) as caught:
        await raw(b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_full_server_refuses_at_once_and_says_when_to_come_back(
    servicer: Playful, connection: Connection
) -> None:
    servicer.behave = forever
    held = [asyncio.create_task(list_models(connection)) for _ in range(2)]
    await asyncio.sleep(0.1)
    with pytest.raises(OverloadedError, match="at most 2") as caught:
        await list_models(connection)
    assert caught.value.retry_after_s is not None
    for each in held:
        each.cancel()
    await asyncio.gather(*held, return_exceptions=True)


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    async with Connection.open("127.0.0.1:1") as nowhere:
        with pytest.raises(UnreachableError):
            await list_models(nowhere, limit_s=5)


@pytest.mark.parametrize(
    ("token", "tenant_id", "error"),
    [
        ("", "acme", UnauthenticatedError),
        ("wrong", "acme", UnauthenticatedError),
        ("for-acme", "rival", TenantNotAllowedError),
        ("for-acme", "*", TenantNotAllowedError),
        ("for-acme", "", InvalidFieldError),
        ("for-acme", "acme", None),
        ("for-all", "rival", None),
    ],
)
async def test_an_identity_speaks_for_its_own_tenants_only(
    servicer: Playful, token: str, tenant_id: str, error: type[MeshError] | None
) -> None:
    identities = Identities.of(
        [
            ("for-acme", Identity("acme-app", frozenset({"acme"}))),
            ("for-all", Identity("mesh", frozenset({"*"}))),
        ]
    )
    request = pb.GenerateTextRequest(tenant_id=tenant_id, question="Why?")
    async with (
        serving(servicer.register, identities=identities) as address,
        Connection.open(address, token=token) as connection,
    ):
        ask = stub(connection).GenerateText
        if error is None:
            async with connection.stream(ask, request) as messages:
                assert len([each async for each in messages]) == 1
        else:
            with pytest.raises(error):
                async with connection.stream(ask, request) as messages:
                    await anext(messages)
