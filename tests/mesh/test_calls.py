"""What a connection does when its backends fail, over real servers that fail as told."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from hasten.answer.v1.answer_service_pb2_grpc import AnswerServiceStub
from hasten.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from hasten.embedding.v1 import embedding_service_pb2 as pb
from hasten.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from hasten.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from hasten.retrieval.v1.retrieval_service_pb2_grpc import RetrievalServiceStub
from libs.budget import Budget, spending
from libs.clients import Connection
from libs.clients.calling import Line, Repeat
from libs.clients.embedding import EmbeddingClient
from libs.errors import (
    BreakerOpenError,
    DependencyUnavailableError,
    InternalError,
    MeshError,
    OverloadedError,
    UnreachableError,
)
from libs.resilience import Allowance, Breaker
from libs.telemetry import names
from tests.support.faults.backend import make_server
from tests.support.faults.flaky import Flaky
from tests.support.spans import Spans
from tests.support.waiting import until

MODEL = "/hasten.embedding.v1.EmbeddingService/GetModel"
STREAM = "/hasten.embedding.v1.EmbeddingService/StreamEmbeddings"
# The longest pause of a breaker, of a reconnecting channel, and some.
WELL_WITHIN_S = 5.0


@dataclass
class Service:
    """Servers in this process, each as flaky as told, and a connection to all."""

    flaky: list[Flaky] = field(default_factory=list)
    connection: Connection = field(init=False)

    @property
    def client(self) -> EmbeddingClient:
        return EmbeddingClient(self.connection)

    async def name(self, limit_s: float = 5) -> str:
        """Return the name of the server that answers."""
        return (await self.client.model(limit_s=limit_s)).name

    async def blocks(self, count: int, limit_s: float = 5) -> list[int]:
        async with self.client.stream(["text"] * count, limit_s=limit_s) as blocks:
            return [block.first_index async for block in blocks]

    def attempts(self, method: str = MODEL) -> int:
        return sum(each.calls.get(method, 0) for each in self.flaky)


@asynccontextmanager
async def service(count: int = 1, **options: Any) -> AsyncIterator[Service]:
    made = Service()
    async with AsyncExitStack() as stack:
        ports = []
        for index in range(count):
            flaky = Flaky(index)
            server, port = make_server(str(index), flaky)
            await server.start()
            stack.push_async_callback(server.stop, None)
            made.flaky.append(flaky)
            ports.append(port)
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        made.connection = await stack.enter_async_context(Connection.open(target, **options))
        yield made


async def counts(times: int, ask: Callable[[], Any]) -> Counter[str]:
    """Ask one time after the other, and count answers, and errors by their reason."""
    found: Counter[str] = Counter()
    for _ in range(times):
        try:
            found[str(await ask())] += 1
        except MeshError as error:
            found[error.reason] += 1
    return found


def unhindered(connection: Connection) -> None:
    """Take the breaker off."""
    line: Line = connection._line  # noqa: SLF001 - a negative control
    line.breaker = Endless()


class Endless(Breaker):
    """A breaker that never opens."""

    def failed(self, ticket: int) -> None:
        pass


async def test_a_call_that_met_a_failing_server_is_made_again_at_another(spans: Spans) -> None:
    async with service(3) as mesh:
        await until(lambda: all_seen(mesh))
        mesh.flaky[0].behave(failing_rate=1.0)
        found = await counts(9, mesh.name)
        assert found.keys() == {"1", "2"}
    retried = [each for each in spans.ended() if names.ATTEMPTS in each.attributes]
    assert [each.attributes[names.ATTEMPTS] for each in retried] == [2] * len(retried)
    assert retried


async def all_seen(mesh: Service) -> bool:
    """Call until each server was reached: they connect one after the other."""
    await mesh.name()
    return all(each.calls for each in mesh.flaky)


async def test_without_an_allowance_the_failure_is_the_callers() -> None:
    async with service(3, allowance=Allowance(0, reserve=0)) as mesh:
        await until(lambda: all_seen(mesh))
        mesh.flaky[0].behave(failing_rate=1.0)
        assert "UNREACHABLE" in await counts(9, mesh.name)


@pytest.mark.parametrize(
    ("stub", "methods"),
    [
        (EmbeddingServiceStub, {"EmbedTexts": True, "StreamEmbeddings": True}),
        (CacheServiceStub, {"LookupAnswer": True, "StoreAnswer": True}),
        (RetrievalServiceStub, {"SearchPassages": True, "UpsertDocuments": True}),
        (GenerationServiceStub, {"GenerateText": True, "ListModels": True}),
        (AnswerServiceStub, {"StreamAnswer": True, "WatchAnswer": True}),
    ],
)
async def test_the_protos_say_what_may_be_called_twice(stub: Any, methods: dict[str, bool]) -> None:
    async with Connection.open("127.0.0.1:1") as nowhere:
        line, made = Line((), Breaker(), Allowance()), stub(nowhere.channel)
        assert {each: line.method(getattr(made, each)).may_repeat for each in methods} == methods


@pytest.mark.parametrize(
    "status", [status for status in grpc.StatusCode if status.name not in ("OK", "UNAVAILABLE")]
)
async def test_any_other_status_is_final(status: grpc.StatusCode) -> None:
    async with service() as mesh:
        mesh.flaky[0].behave(failing_rate=1.0, status=status)
        with pytest.raises(MeshError):
            await mesh.name()
        assert mesh.attempts() == 1


@pytest.mark.parametrize("status", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
async def test_a_server_says_when_it_will_be_asked_again(status: str) -> None:
    async with service() as mesh:
        code = grpc.StatusCode[status]
        mesh.flaky[0].behave(failing_rate=1.0, status=code, pushback_ms=100)
        began_s = time.monotonic()
        with pytest.raises((UnreachableError, OverloadedError)):
            await mesh.name()
        assert mesh.attempts() == 2
        assert time.monotonic() - began_s >= 0.1


async def test_a_server_may_forbid_another_try() -> None:
    async with service() as mesh:
        mesh.flaky[0].behave(failing_rate=1.0, pushback_ms=-1)
        with pytest.raises(UnreachableError):
            await mesh.name()
        assert mesh.attempts() == 1


async def test_nothing_is_tried_again_that_does_not_fit_in_the_time() -> None:
    async with service() as mesh:
        mesh.flaky[0].behave(failing_rate=1.0, pushback_ms=300)
        with spending(Budget.of(0.25)), pytest.raises(UnreachableError):
            await mesh.name()
        assert mesh.attempts() == 1


async def test_a_stream_is_begun_anew_only_before_its_first_message() -> None:
    async with service(3) as mesh:
        await until(lambda: all_seen(mesh))
        mesh.flaky[0].behave(failing_rate=1.0)
        for _ in range(6):
            assert await mesh.blocks(3) == [0, 1, 2]
        assert mesh.attempts(STREAM) > 6


@pytest.mark.parametrize(
    ("repeat", "attempts"),
    [
        (Repeat(), 2),
        (Repeat(first_s=4.0), 2),
        (Repeat(first_s=0.05), 1),  # its first message would be of no use any more
        (Repeat(waits=False), 1),
    ],
)
async def test_a_caller_says_what_a_second_attempt_is_worth(repeat: Repeat, attempts: int) -> None:
    async with service() as mesh:
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        mesh.flaky[0].behave(failing_rate=1.0, status=code, pushback_ms=100)
        stub = EmbeddingServiceStub(mesh.connection.channel)
        request = pb.StreamEmbeddingsRequest(texts=["text"])
        with pytest.raises(OverloadedError):
            async with mesh.connection.stream(
                stub.StreamEmbeddings, request, limit_s=5, repeat=repeat
            ) as blocks:
                await anext(blocks)
        assert mesh.attempts(STREAM) == attempts


async def test_a_second_attempt_is_told_how_much_time_has_passed() -> None:
    passed_s: list[float] = []

    def later(seconds: float) -> Any:
        passed_s.append(seconds)
        return pb.StreamEmbeddingsRequest(texts=["text"] * 2)

    async with service() as mesh:
        mesh.flaky[0].behave(failing_rate=1.0, pushback_ms=100)
        stub = EmbeddingServiceStub(mesh.connection.channel)
        request = pb.StreamEmbeddingsRequest(texts=["text"])
        with pytest.raises(UnreachableError):
            async with mesh.connection.stream(
                stub.StreamEmbeddings, request, limit_s=5, repeat=Repeat(request=later)
            ) as blocks:
                await anext(blocks)
    assert len(passed_s) == 1
    assert passed_s[0] >= 0.1


async def test_a_stream_that_breaks_after_a_message_is_not_begun_anew() -> None:
    async with service() as mesh:
        mesh.flaky[0].behave(breaks_after=2)
        async with mesh.client.stream(["text"] * 5, limit_s=5) as blocks:
            assert [(await anext(blocks)).first_index for _ in range(2)] == [0, 1]
            with pytest.raises(UnreachableError):
                await anext(blocks)
        assert mesh.attempts(STREAM) == 1


async def test_a_server_whose_streams_all_break_off_is_left_alone() -> None:
    async with service() as mesh:
        mesh.flaky[0].behave(breaks_after=1)
        found = await counts(20, lambda: mesh.blocks(3))
        assert found["BREAKER_OPEN"] > 10
        mesh.flaky[0].behave(breaks_after=None)
        await until(lambda: answers(mesh), within_s=WELL_WITHIN_S, every_s=0.05)


async def test_servers_that_all_fail_get_hardly_more_calls_than_were_asked_for() -> None:
    async with service(3) as mesh:
        for each in mesh.flaky:
            each.behave(failing_rate=1.0)
        unhindered(mesh.connection)
        found = await counts(400, mesh.name)
        assert found == {"UNREACHABLE": 400}
        assert mesh.attempts() <= 1.1 * 400


async def test_without_a_share_every_failing_call_is_made_twice() -> None:
    async with service(3, allowance=Allowance(1.0)) as mesh:
        for each in mesh.flaky:
            each.behave(failing_rate=1.0)
        unhindered(mesh.connection)
        await counts(50, mesh.name)
        assert mesh.attempts() == 100


async def test_a_server_that_fails_is_left_alone_and_taken_back_when_it_is_well() -> None:
    async with service() as mesh:
        mesh.flaky[0].behave(failing_rate=1.0)
        found = await counts(50, mesh.name)
        assert found["BREAKER_OPEN"] > 40
        assert mesh.attempts() < 20
        await until(lambda: is_shut(mesh.connection.breaker))
        with pytest.raises(BreakerOpenError) as refused:
            await mesh.name()
        assert refused.value.code is grpc.StatusCode.UNAVAILABLE
        assert refused.value.retry_after_s is not None
        mesh.flaky[0].behave(failing_rate=0.0)
        await until(lambda: answers(mesh), within_s=WELL_WITHIN_S, every_s=0.05)
        assert await counts(20, mesh.name) == {"0": 20}


async def is_shut(breaker: Breaker) -> bool:
    return breaker.is_open and breaker.retry_after_s() > 0.1


async def answers(mesh: Service) -> bool:
    return "0" in await counts(1, mesh.name)


async def test_a_server_that_is_gone_and_comes_back_is_found_without_a_restart(
    unused_tcp_port: int,
) -> None:
    async with Connection.open(f"127.0.0.1:{unused_tcp_port}") as connection:
        client = EmbeddingClient(connection)

        async def name() -> str:
            return (await client.model(limit_s=1)).name

        assert (await counts(30, name))["BREAKER_OPEN"]
        server, _ = make_server("back", port=unused_tcp_port)
        await server.start()
        try:

            async def is_back() -> bool:
                return "back" in await counts(1, name)

            await until(is_back, within_s=WELL_WITHIN_S, every_s=0.05)
        finally:
            await server.stop(None)


@pytest.mark.parametrize(
    "status",
    ["DEADLINE_EXCEEDED", "CANCELLED", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"],
)
async def test_what_is_not_the_servers_fault_does_not_open_its_breaker(status: str) -> None:
    async with service() as mesh:
        mesh.flaky[0].behave(failing_rate=1.0, status=grpc.StatusCode[status])
        await counts(20, mesh.name)
        assert mesh.attempts() == 20
        assert not mesh.connection.breaker.is_open


async def test_our_own_deadlines_and_cancellations_do_not_open_a_breaker() -> None:
    async with service() as mesh:
        await mesh.name()
        mesh.flaky[0].behave(delay="5")
        await asyncio.gather(*(counts(1, lambda: mesh.name(0.05)) for _ in range(20)))
        calls = [asyncio.create_task(mesh.name()) for _ in range(20)]
        await asyncio.sleep(0.05)
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert not mesh.connection.breaker.is_open


async def test_a_server_that_says_what_it_lacks_is_there() -> None:
    async with service() as mesh:
        mesh.flaky[0].behave(raises=DependencyUnavailableError("no model"))
        assert await counts(20, mesh.name) == {"DEPENDENCY_UNAVAILABLE": 20}
        mesh.flaky[0].behave(raises=ValueError("a mistake"))
        with pytest.raises(InternalError):
            await mesh.name()
        assert "BREAKER_OPEN" in await counts(20, mesh.name)


async def test_a_probe_whose_caller_leaves_lets_the_next_one_in() -> None:
    async with service() as mesh:
        mesh.flaky[0].behave(failing_rate=1.0)
        await counts(10, mesh.name)
        breaker = mesh.connection.breaker
        assert breaker.is_open
        mesh.flaky[0].behave(failing_rate=0.0, delay="60")
        await until(lambda: allowed(breaker))
        probe = asyncio.create_task(mesh.name())
        await asyncio.sleep(0)
        assert not breaker.allows()
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        mesh.flaky[0].behave(delay="0")
        assert await mesh.name() == "0"


async def allowed(breaker: Breaker) -> bool:
    return breaker.allows()


async def test_a_cancellation_that_leaks_does_not_hang_its_caller() -> None:
    async with service() as mesh:
        mesh.flaky[0].behave(raises=asyncio.CancelledError())
        async with asyncio.timeout(10):
            with pytest.raises(InternalError):
                await mesh.client.model()
        assert await counts(1, mesh.name)


async def test_servers_that_report_no_load_take_turns() -> None:
    async with service(3) as mesh:
        await until(lambda: all_seen(mesh))
        before = await counts(300, mesh.name)
        assert min(before.values()) >= 95


async def test_servers_that_report_their_load_are_called_the_less_the_more_they_have() -> None:
    async with service(2) as mesh:
        for flaky, load in zip(mesh.flaky, (0.1, 0.9), strict=True):
            flaky.behave(load=load)
        await until(lambda: all_seen(mesh))
        await until(lambda: mostly(mesh, "0"), within_s=20)


async def mostly(mesh: Service, name: str) -> bool:
    """Return whether a server has at least three in four of some calls."""
    return (await counts(40, mesh.name))[name] >= 30


async def test_one_of_three_that_fails_every_call_is_put_aside() -> None:
    async with service(3, allowance=Allowance(0, reserve=0)) as mesh:
        await until(lambda: all_seen(mesh))
        unhindered(mesh.connection)
        mesh.flaky[0].behave(failing_rate=1.0)
        assert not await none_fails(mesh)
        await until(lambda: none_fails(mesh), within_s=20)


async def none_fails(mesh: Service) -> bool:
    """Return whether all of some calls are answered: in turn, one in three would fail."""
    return "UNREACHABLE" not in await counts(60, mesh.name)


async def test_a_spare_has_connections_of_its_own_and_the_same_breaker() -> None:
    async with service(2) as mesh:
        connection = mesh.connection
        spare = connection.spare()
        assert spare is connection.spare()
        assert spare.channel is not connection.channel
        assert spare.breaker is connection.breaker
        assert (connection.backend_count, spare.backend_count) == (2, 2)
        assert (await EmbeddingClient(spare).model(limit_s=5)).name in ("0", "1")


@pytest.mark.parametrize(
    ("target", "configured", "count"),
    [
        ("127.0.0.1:1", None, 1),
        ("ipv4:127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", None, 3),
        ("dns:///cache:50052", None, 1),
        ("dns:///cache:50052", 3, 3),
        ("unix:/run/cache", 3, 1),
    ],
)
async def test_a_target_tells_how_many_backends_it_has(
    target: str, configured: int | None, count: int
) -> None:
    async with Connection.open(target, backend_count=configured) as connection:
        assert connection.backend_count == count
