"""What cannot be saved: two streamed hops with a Redis GET behind them, and nothing else.

A front and a back, each a bare grpc.aio server in a process of its own, as the orchestrator
and the cache are: no guard, no budget, no span, no message is taken apart.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
from grpc import aio
from redis.asyncio import Redis

METHOD = "/bench.Bare/Get"
_KEY = "bench:bare"
# About what a stored answer with its sources weighs.
_VALUE = b"x" * 4096

Handle = Callable[[bytes, Any], AsyncIterator[bytes]]


class _Bare(grpc.GenericRpcHandler):
    def __init__(self, handle: Handle) -> None:
        self._handler = grpc.unary_stream_rpc_method_handler(handle)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handler if handler_call_details.method == METHOD else None


def _back(redis: Redis) -> Handle:
    async def handle(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield await redis.get(_KEY)

    return handle


def _front(back: Any) -> Handle:
    async def handle(request: bytes, context: Any) -> AsyncIterator[bytes]:
        async for message in back(request):
            yield message

    return handle


async def _serve(role: str, target: str) -> None:
    async with AsyncExitStack() as stack:
        if role == "back":
            handle = _back(await stack.enter_async_context(Redis.from_url(target)))
        else:
            channel = await stack.enter_async_context(aio.insecure_channel(target))
            handle = _front(channel.unary_stream(METHOD))
        server = aio.server()
        server.add_generic_rpc_handlers((_Bare(handle),))
        print(server.add_insecure_port("127.0.0.1:0"), flush=True)
        await server.start()
        await server.wait_for_termination()


@asynccontextmanager
async def two_hops(redis_url: str) -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
    """Yield a callable that sends bytes over both hops and awaits what Redis has."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(Redis.from_url(redis_url))
        await redis.set(_KEY, _VALUE)
        back = await stack.enter_async_context(_process("back", redis_url))
        front = await stack.enter_async_context(_process("front", back))
        channel = await stack.enter_async_context(aio.insecure_channel(front))
        method = channel.unary_stream(METHOD)

        async def get(request: bytes) -> bytes:
            return b"".join([message async for message in method(request)])

        yield get


@asynccontextmanager
async def _process(role: str, target: str) -> AsyncIterator[str]:
    """Run one of the two, and yield where it listens."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.bare", role, target), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
