"""A small server of the mesh in a process of its own, to be frozen and killed.

`python -m tests.support.faults.backend '{"delay": "0.005"}'` prints its port, then serves
`EmbeddingService` until it is ended. Every answer names the process that gave it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc

from hasten.embedding.v1 import embedding_service_pb2 as pb
from hasten.embedding.v1.embedding_service_pb2_grpc import (
    EmbeddingServiceServicer,
    add_EmbeddingServiceServicer_to_server,
)
from libs.resilience import open_admission
from libs.server import Guard, Identities
from libs.server.bootstrap import OPTIONS
from tests.support.faults.flaky import Flaky


class Named(EmbeddingServiceServicer):
    """Answers with a name, and streams a block for each text."""

    def __init__(self, name: str) -> None:
        self.name = name

    def register(self, server: aio.Server) -> None:
        add_EmbeddingServiceServicer_to_server(self, server)

    async def GetModel(self, request: Any, context: Any) -> pb.GetModelResponse:
        return pb.GetModelResponse(name=self.name)

    async def EmbedTexts(self, request: Any, context: Any) -> pb.EmbedTextsResponse:
        return pb.EmbedTextsResponse(fingerprint=self.name)

    async def StreamEmbeddings(
        self, request: Any, context: Any
    ) -> AsyncIterator[pb.StreamEmbeddingsResponse]:
        for index in range(len(request.texts)):
            yield pb.StreamEmbeddingsResponse(fingerprint=self.name, first_index=index)


def make_server(
    name: str, *interceptors: aio.ServerInterceptor, port: int = 0
) -> tuple[aio.Server, int]:
    """Return a guarded server that is not started, and its port on the loopback interface."""
    guard = Guard(Identities.open(), admission=open_admission(1024))
    server = aio.server(interceptors=[guard, *interceptors], options=OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    Named(name).register(server)
    return server, server.add_insecure_port(f"127.0.0.1:{port}")


async def _serve(conduct: dict[str, Any]) -> None:
    server, port = make_server(str(os.getpid()), Flaky(os.getpid(), **conduct))
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
