"""A server that is slow or fails, as told: what every call passes before its servicer."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, replace
from typing import Any

import grpc
from grpc import aio

from tests.support.provider.behaviour import Delays

# Health stays what it is: a server that fails its calls and says that it is well is the
# fault that health checks do not see.
_SPARED = ("/grpc.health.v1.", "/grpc.reflection.")
PUSHBACK = "grpc-retry-pushback-ms"
_LOAD_REPORT = "endpoint-load-metrics-bin"


@dataclass(frozen=True, slots=True)
class Conduct:
    """What happens to a call.

    Attributes:
        delay: before it is served or fails: seconds (`0.5`), `lognormal:MEDIAN_S:SIGMA`, or
            `S,S,S`, one for each call in turn.
        failing_rate: share of calls that fail, in [0, 1].
        status: what they fail with.
        pushback_ms: what failing calls are told to wait before another try; -1 forbids
            one, None says nothing.
        raises: what servicers raise instead, every time; None raises nothing.
        breaks_after: messages of a stream after which it fails; None lets it end.
        load: utilisation that is reported with each call, in (0, 1]; None reports none.
    """

    delay: str = "0"
    failing_rate: float = 0.0
    status: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    pushback_ms: int | None = None
    raises: BaseException | None = None
    breaks_after: int | None = None
    load: float | None = None


class Flaky(aio.ServerInterceptor):
    """Delays and fails calls by chance; the same seed draws the same chances.

    Attributes:
        conduct: may be changed at any time with `behave`.
        calls: attempts that came in, by method; health is not counted.
    """

    def __init__(self, seed: int = 0, **conduct: Any) -> None:
        self.conduct = Conduct(**conduct)
        self.calls: dict[str, int] = {}
        self._draw = Delays(seed)

    def behave(self, **changes: Any) -> None:
        """Change the conduct of calls from now on."""
        self.conduct = replace(self.conduct, **changes)

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return the method's handler with trouble before it."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_SPARED):
            return handler
        reader, writer = handler.request_deserializer, handler.response_serializer
        if handler.unary_unary is not None:
            served = self._unary(method, handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(served, reader, writer)
        streamed = self._stream(method, handler.unary_stream)
        return grpc.unary_stream_rpc_method_handler(streamed, reader, writer)

    def _unary(self, method: str, inner: Any) -> Any:
        async def serve(request: Any, context: Any) -> Any:
            await self._trouble(method, context)
            return await inner(request, context)

        return serve

    def _stream(self, method: str, inner: Any) -> Any:
        async def serve(request: Any, context: Any) -> Any:
            await self._trouble(method, context)
            sent = 0
            async for response in inner(request, context):
                if sent == self.conduct.breaks_after:
                    await context.abort(self.conduct.status, "as told")
                yield response
                sent += 1

        return serve

    async def _trouble(self, method: str, context: Any) -> None:
        self.calls[method] = self.calls.get(method, 0) + 1
        conduct = self.conduct
        await asyncio.sleep(self._draw.next("call", conduct.delay))
        if conduct.load is not None:
            context.set_trailing_metadata(((_LOAD_REPORT, _report(conduct.load)),))
        if conduct.raises is not None:
            raise conduct.raises
        if self._draw.chance(conduct.failing_rate):
            pushback = conduct.pushback_ms
            trailer = () if pushback is None else ((PUSHBACK, str(pushback)),)
            await context.abort(conduct.status, "as told", trailer)


def _report(load: float) -> bytes:
    """Return an `OrcaLoadReport` by hand: CPU utilisation (field 1) and 100 calls/s (field 6)."""
    return struct.pack("<BdBd", 1 << 3 | 1, load, 6 << 3 | 1, 100.0)
