"""A real server for a test: in this process, on a port the system picks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc

from libs.resilience import Admission, open_admission
from libs.server.bootstrap import OPTIONS
from libs.server.identity import Identities
from libs.server.interceptor import Guard


@asynccontextmanager
async def serving(
    *registers: Callable[[aio.Server], None],
    identities: Identities | None = None,
    max_concurrency: int = 256,
    admission: Admission | None = None,
    address: str = "127.0.0.1:0",
) -> AsyncIterator[str]:
    """Serve what `registers` attach, guarded as in production, and yield the address.

    But for one thing: without an `admission`, only the count of calls is looked at. A test
    machine that is busy is no server that has too much to do.
    """
    guard = Guard(
        identities or Identities.open(), admission=admission or open_admission(max_concurrency)
    )
    server = aio.server(interceptors=[guard], options=OPTIONS)
    # Healthy from the start, unless a test has its own say: of two the later one is asked.
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    for register in registers:
        register(server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=None)
