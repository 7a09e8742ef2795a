"""What a server lets in, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from grpc import aio

from hasten.generation.v1 import generation_service_pb2 as pb
from hasten.generation.v1.generation_service_pb2_grpc import (
    GenerationServiceServicer,
    GenerationServiceStub,
    add_GenerationServiceServicer_to_server,
)
from libs.clients import Connection
from libs.errors import (
    BudgetExhaustedError,
    InvalidFieldError,
    MeshError,
    OverloadedError,
    to_status,
)
from libs.resilience import Admission, Codel, Limiter, background, is_background, open_admission
from libs.server.orca import TRAILER
from libs.server.testing import serving

WORKERS, WORK_S, DEADLINE_S = 4, 0.040, 0.4
CAPACITY = WORKERS / WORK_S
SERVICE = "hasten.generation.v1.GenerationService"


class Workers(GenerationServiceServicer):
    """Does a fixed amount of work for each call, so many at once."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(WORKERS)
        self.work_s = 0.0
        self.fails = False
        self.was_background: list[bool] = []
        self.entered = asyncio.Semaphore(0)
        self.trailers: tuple[tuple[str, str], ...] = ()

    def register(self, server: aio.Server) -> None:
        add_GenerationServiceServicer_to_server(self, server)

    async def ListModels(self, request: Any, context: Any) -> pb.ListModelsResponse:
        self.was_background.append(is_background())
        self.entered.release()
        if self.fails:
            raise InvalidFieldError("nothing", "is right")
        if self.trailers:
            context.set_trailing_metadata(self.trailers)
        async with self._free:
            await asyncio.sleep(self.work_s)
        return pb.ListModelsResponse()

    async def GenerateText(
        self, request: Any, context: Any
    ) -> AsyncIterator[pb.GenerateTextResponse]:
        yield pb.GenerateTextResponse()
        await asyncio.Event().wait()


@pytest.fixture
async def workers() -> Workers:
    return Workers()


async def list_models(connection: Connection, limit_s: float | None = None) -> Any:
    method = GenerationServiceStub(connection.channel).ListModels
    return await connection.unary(method, pb.ListModelsRequest(), limit_s=limit_s)


async def test_a_call_without_the_time_it_needs_is_refused_before_any_work(
    workers: Workers,
) -> None:
    workers.work_s = 0.3
    admission = Admission(Limiter(64))
    async with (
        serving(workers.register, admission=admission) as address,
        Connection.open(address) as connection,
    ):
        for _ in range(3):
            await asyncio.gather(*(list_models(connection) for _ in range(8)))
        done = len(workers.was_background)
        with pytest.raises(OverloadedError) as caught:
            await list_models(connection, limit_s=0.2)
        assert len(workers.was_background) == done
        assert caught.value.metadata["hop"] == f"{SERVICE}/ListModels"
        assert float(caught.value.metadata["needed_ms"]) >= 250
        assert float(caught.value.metadata["had_ms"]) < 250
        assert caught.value.retry_after_s is not None


async def test_without_that_rule_the_work_is_begun_for_nothing(workers: Workers) -> None:
    workers.work_s = 0.3
    admission = Admission(Limiter(64), judges_time=False)
    async with (
        serving(workers.register, admission=admission) as address,
        Connection.open(address) as connection,
    ):
        for _ in range(3):
            await asyncio.gather(*(list_models(connection) for _ in range(8)))
        done = len(workers.was_background)
        with pytest.raises(BudgetExhaustedError):
            await list_models(connection, limit_s=0.2)
        assert len(workers.was_background) == done + 1


async def test_watchers_leave_room_for_calls(workers: Workers) -> None:
    admission = Admission(Limiter(1), watches=[f"{SERVICE}/GenerateText"])
    ask = pb.GenerateTextRequest(tenant_id="acme", question="Why?")
    async with (
        serving(workers.register, admission=admission) as address,
        Connection.open(address) as connection,
    ):
        watch = GenerationServiceStub(connection.channel).GenerateText
        async with connection.stream(watch, ask) as messages:
            await anext(messages)
            await list_models(connection)


async def test_background_is_passed_on_and_leaves_room_for_who_waits(workers: Workers) -> None:
    workers.work_s = 30.0
    async with (
        serving(workers.register, admission=Admission(Limiter(2))) as address,
        Connection.open(address) as connection,
    ):
        with background():
            held = [asyncio.create_task(list_models(connection))]
            await workers.entered.acquire()
            with pytest.raises(OverloadedError, match="1 in flight, at most 1"):
                await list_models(connection)
        held.append(asyncio.create_task(list_models(connection)))
        await workers.entered.acquire()
        assert workers.was_background == [True, False]
        for each in held:
            each.cancel()
        await asyncio.gather(*held, return_exceptions=True)


async def test_what_a_servicer_says_in_its_trailers_is_kept(workers: Workers) -> None:
    workers.trailers = (("own", "kept"),)
    async with (
        serving(workers.register) as address,
        Connection.open(address) as connection,
    ):
        call = GenerationServiceStub(connection.channel).ListModels(pb.ListModelsRequest())
        await call
        assert ("own", "kept") in tuple(await call.trailing_metadata())


def test_a_status_brings_the_load_report_beside_its_details() -> None:
    status = to_status(OverloadedError("full"), ((TRAILER, b"report"),))
    assert [name for name, _ in status.trailing_metadata] == ["grpc-status-details-bin", TRAILER]


# gRPC keeps the report to itself, so what can be seen of it is what it makes of it.
_BY_LOAD = json.dumps(
    {
        "loadBalancingConfig": [
            {"weighted_round_robin": {"blackoutPeriod": "0s", "weightUpdatePeriod": "0.1s"}}
        ]
    }
)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_fuller_server_gets_fewer_calls(fails: bool) -> None:  # noqa: FBT001
    full, empty = Workers(), Workers()
    full.fails = empty.fails = fails
    # The same work fills the one ten times as much as the other.
    loads = [Admission(Limiter(4, adapts=False)), Admission(Limiter(40, adapts=False))]
    ask = pb.GenerateTextRequest(tenant_id="acme", question="Why?")
    async with AsyncExitStack() as stack:
        addresses = []
        for each, admission in zip((full, empty), loads, strict=True):
            address = await stack.enter_async_context(serving(each.register, admission=admission))
            addresses.append(address)
            alone = await stack.enter_async_context(Connection.open(address))
            watch = GenerationServiceStub(alone.channel).GenerateText
            messages = await stack.enter_async_context(alone.stream(watch, ask))
            await anext(messages)
        options = [("grpc.service_config", _BY_LOAD)]
        target = "ipv4:" + ",".join(addresses)
        channel = aio.insecure_channel(target, options=options)
        both = await stack.enter_async_context(Connection(channel))
        async with asyncio.timeout(30):
            while len(empty.was_background) < 2 * len(full.was_background) + 50:
                with contextlib.suppress(InvalidFieldError):
                    await list_models(both)
                await asyncio.sleep(0.002)


async def flood(connection: Connection, load: float, for_s: float) -> dict[str, list[float]]:
    """Ask at `load` times the capacity; return when each outcome came, and after how long."""
    found: dict[str, list[float]] = {"answered": [], "refused": [], "late": []}
    started_s = time.monotonic()

    async def ask() -> None:
        asked_s = time.monotonic()
        try:
            await list_models(connection, limit_s=DEADLINE_S)
            outcome = "answered"
        except OverloadedError:
            outcome = "refused"
        except MeshError:
            outcome = "late"
        if asked_s > started_s + for_s / 4:  # once it has settled
            found[outcome].append(time.monotonic() - asked_s)

    async with asyncio.TaskGroup() as group:
        number = 0
        while (passed_s := time.monotonic() - started_s) < for_s:
            while number < passed_s * CAPACITY * load:
                group.create_task(ask())
                number += 1
            await asyncio.sleep(0.002)
    return found


async def flooded(workers: Workers, admission: Admission, for_s: float) -> dict[str, Any]:
    workers.work_s = WORK_S
    async with (
        serving(workers.register, admission=admission) as address,
        Connection.open(address) as connection,
    ):
        for _ in range(5):
            await asyncio.gather(*(list_models(connection) for _ in range(WORKERS)))
        found = await flood(connection, 3.0, for_s)
    goodput = len(found["answered"]) / (for_s * 3 / 4) / CAPACITY
    refused_s = sorted(found["refused"]) or [0.0]
    return {
        "goodput": goodput,
        "late": len(found["late"]),
        "refused": len(found["refused"]),
        "refused_p50_s": refused_s[len(refused_s) // 2],
        "refused_p95_s": refused_s[len(refused_s) * 95 // 100],
    }


@pytest.mark.prove
async def test_three_times_too_much_leaves_nine_tenths_of_what_the_server_can_do(
    workers: Workers,
) -> None:
    found = await flooded(workers, Admission(Limiter(256), codel=Codel()), 8.0)
    print(found)
    assert found["goodput"] >= 0.9
    assert found["refused"] > 0
    assert found["refused_p95_s"] <= 0.010


@pytest.mark.prove
async def test_without_admission_it_leaves_hardly_anything(workers: Workers) -> None:
    found = await flooded(workers, open_admission(10**6), 8.0)
    print(found)
    assert found["refused"] == 0
    assert found["goodput"] < 0.5
