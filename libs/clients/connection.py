"""A connection to one service, and how every call on it is made.

Each call gets its timeout from the budget, carries the trace and the token, is a span of
its own, is cancelled when its caller leaves, and raises the error that the server raised.
A wrapper does this and not gRPC's client interceptors: those add a task to each call and
lose cancellations (docs/adr/0005-own-interceptors.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, ClassVar, Self

from grpc import aio

from libs.clients.calling import Calling, Line, Repeat
from libs.clients.channel import count_backends, open_channel
from libs.errors import from_rpc_error
from libs.resilience import Allowance, Breaker
from libs.telemetry import names
from libs.tls import Watched

# Second attempts before any first one has paid for them: what may be in flight at one of a
# few backends when it dies.
_RESERVE = 10.0


def open_allowance() -> Allowance:
    """Return an allowance for the calls of one process, to be shared by its connections."""
    return Allowance(reserve=_RESERVE)


class Connection:
    """A channel to one service; an async context manager that closes it.

    Attributes:
        channel: for the service's stub.
        backend_count: backends that share the calls, as far as is known.
    """

    def __init__(
        self,
        channel: aio.Channel,
        *,
        token: str = "",
        allowance: Allowance | None = None,
        backend_count: int = 1,
        open_spare: Callable[[], aio.Channel] | None = None,
        line: Line | None = None,
    ) -> None:
        """Make calls on `channel`.

        Args:
            channel: closed with the connection.
            token: what the calls say who makes them; empty says nothing.
            allowance: what second attempts draw on; one of its own by default.
            backend_count: backends behind the channel.
            open_spare: opens another channel to the same backends.
            line: that of the connection whose spare this is; it stands for token and
                allowance.
        """
        self.channel = channel
        self.backend_count = backend_count
        authorization = ((names.AUTHORIZATION, f"Bearer {token}"),) if token else ()
        self._line = line or Line(authorization, Breaker(), allowance or open_allowance())
        self._open_spare = open_spare
        self._spare: Connection | None = None

    @classmethod
    def open(
        cls,
        target: str,
        *,
        token: str = "",
        options: Sequence[tuple[str, Any]] = (),
        allowance: Allowance | None = None,
        backend_count: int | None = None,
        tls: Watched | None = None,
    ) -> Self:
        """Open a channel to `target`.

        Args:
            target: `host:port`, `ipv4:a:p,b:p` for several backends, or any name gRPC
                resolves (`dns:///name:port`).
            token: what the calls say who makes them; empty says nothing.
            options: of the channel, over those that every one has.
            allowance: what second attempts draw on, shared with others that call more
                than they must; one of its own by default.
            backend_count: backends behind a name that is resolved; 1 if it is not said.
            tls: the certificate to show; None speaks in plain text.
        """
        return cls(
            open_channel(target, options, tls=tls),
            token=token,
            allowance=allowance,
            backend_count=count_backends(target) or backend_count or 1,
            open_spare=lambda: open_channel(target, options, apart=True, tls=tls),
        )

    @property
    def breaker(self) -> Breaker:
        """What leaves the backends alone while all of them fail."""
        return self._line.breaker

    def may_hedge(self) -> bool:
        """Take a call that is made twice out of the allowance that retries draw on, too.

        Returns:
            False if there is none left, or the breaker is open: nothing is to be made twice.
        """
        return self._line.breaker.allows() and self._line.allowance.withdraw()

    def spare(self) -> Connection:
        """Return a second connection to the same backends, for a call that is made twice.

        It has a channel and TCP connections of its own, so nothing that holds up the first
        holds up the second; breaker and allowance are the same. It is opened when it is
        first asked for, and closed with this one. With n backends the two calls still meet
        on one of them about once in n times. A connection over a channel that was given to
        it, and a spare, return themselves.
        """
        if self._open_spare is None:
            return self
        if self._spare is None:
            channel = self._open_spare()
            self._spare = Connection(channel, backend_count=self.backend_count, line=self._line)
        return self._spare

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._spare is not None:
            await self._spare.channel.close()
        await self.channel.close()

    async def unary(self, method: Any, request: Any, *, limit_s: float | None = None) -> Any:
        """Call a method with one response.

        Args:
            method: the stub's method.
            request: its message.
            limit_s: seconds it may take; never more than the current budget leaves.

        Raises:
            MeshError: what the server raised; before anything is sent
                `BudgetExhaustedError` if there is no time left, and `BreakerOpenError` if
                the backends are left alone.
        """
        calling = Calling(self._line, method, request, limit_s)
        try:
            calling.start()
            while True:
                try:
                    response = await calling.call
                except aio.AioRpcError as error:
                    await calling.again(error)
                else:
                    calling.code = "OK"
                    calling.served()
                    return response
        finally:
            if calling.call is not None:
                calling.call.cancel()
            calling.end(calling.code)

    @asynccontextmanager
    async def stream(
        self,
        method: Any,
        request: Any,
        *,
        limit_s: float | None = None,
        repeat: Repeat | None = None,
    ) -> AsyncIterator[Responses]:
        """Call a method with many responses, and yield them as they come.

        Leaving the block cancels the call if it has not ended; a plain `break` out of a
        response iterator would not. Nothing is cancelled once `Responses.close` was called.

        Args:
            method: the stub's method.
            request: its message.
            limit_s: seconds it may take; never more than the current budget leaves.
            repeat: what is asked of a second attempt, where there may be one.

        Raises:
            MeshError: as `unary`; later ones come out of the iteration.
        """
        calling = Calling(self._line, method, request, limit_s, repeat or Repeat())
        responses: Responses | None = None
        try:
            calling.start()
            responses = Responses(calling.call, calling)
            yield responses
        finally:
            if responses is not None:
                responses.leave()
                calling.code = responses.code
            calling.end(calling.code)


class Responses:
    """The responses of one call, in order.

    Attributes:
        code: name of the status that the call ended with; `CANCELLED` until it has.
    """

    # Calls whose last response was read, held until their status has come as well:
    # one that is collected before would be cancelled.
    _ending: ClassVar[set[Any]] = set()

    def __init__(self, call: Any, calling: Calling | None = None) -> None:
        """Read the responses of `call`, the first attempt of `calling`."""
        self.code = "CANCELLED"
        self._call = call
        self._calling = calling
        self._iterator = call.__aiter__()
        self._is_begun = False
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._is_closed:
            raise StopAsyncIteration
        while True:
            try:
                message = await anext(self._iterator)
            except StopAsyncIteration:
                self.code = "OK"
                self._begin()
                raise
            except aio.AioRpcError as error:
                self.code = error.code().name
                await self._again(error)
            else:
                if not self._is_begun:
                    self._begin()
                return message

    def _begin(self) -> None:
        """Note that the backend answers, once."""
        if not self._is_begun and self._calling is not None:
            self._calling.served()
        self._is_begun = True

    async def _again(self, error: aio.AioRpcError) -> None:
        if self._calling is None:
            raise from_rpc_error(error) from error
        await self._calling.again(error, begun=self._is_begun)
        self.code = "CANCELLED"
        self._call = self._calling.call
        self._iterator = self._call.__aiter__()

    def close(self) -> None:
        """Note that the last response has been read, as the contract of the method says.

        Nobody then waits for the status behind it, which says nothing more.
        """
        self.code = "OK"
        self._is_closed = True

    def leave(self) -> None:
        """Cancel the call, unless its last response has been read."""
        if not self._is_closed:
            self._call.cancel()
        elif not self._call.done():
            self._ending.add(self._call)
            self._call.add_done_callback(self._ending.discard)
