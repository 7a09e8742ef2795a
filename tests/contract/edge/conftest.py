"""An edge before a fake orchestrator, for the tests here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc

from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.server.testing import serving
from tests.support.answering_edge import Orchestrator, edge


@pytest.fixture
def orchestrator() -> Orchestrator:
    return Orchestrator()


@pytest.fixture
def status() -> health.aio.HealthServicer:
    return health.aio.HealthServicer()


@pytest.fixture
async def connection(
    orchestrator: Orchestrator, status: health.aio.HealthServicer
) -> AsyncIterator[Connection]:
    def add_health(server: aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(status, server)

    async with (
        serving(orchestrator.register, add_health) as address,
        Connection.open(address) as opened,
    ):
        yield opened


@pytest.fixture
def client(connection: Connection) -> AnswerClient:
    return AnswerClient(connection)


@pytest.fixture
async def http(connection: Connection) -> AsyncIterator[httpx.AsyncClient]:
    async with edge(connection) as opened:
        yield opened
