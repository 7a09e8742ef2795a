"""The floor of one hop: a bare grpc.aio echo, in a process of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc import aio

METHOD = "/bench.Echo/Echo"


class _Echo(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method != METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(_echo)


async def _echo(request: bytes, context: Any) -> bytes:
    return request


async def _serve() -> None:
    server = aio.server()
    server.add_generic_rpc_handlers((_Echo(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


@asynccontextmanager
async def echo_address() -> AsyncIterator[str]:
    """Run an echo server, and yield where it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.echo", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def echoing() -> AsyncIterator[Any]:
    """Yield a callable that sends bytes to an echo server and awaits them back."""
    async with echo_address() as address, aio.insecure_channel(address) as channel:
        yield channel.unary_unary(METHOD)


if __name__ == "__main__":
    asyncio.run(_serve())
