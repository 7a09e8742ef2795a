"""What every request goes through: who it is, may it, is there room, and what if it fails."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass

from opentelemetry.trace import Span, Status, StatusCode
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from libs.errors import MeshError
from libs.telemetry import context_of, names, span
from services.edge.access.caller import Caller
from services.edge.access.gate import Gate
from services.edge.access.quotas import Quotas
from services.edge.problem import Problem, ProblemError
from services.edge.web import sse
from services.edge.web.arrival import Patience
from services.edge.web.exchange import Exchange
from services.edge.web.metrics import EdgeMetrics
from services.edge.web.operation import Operation
from services.edge.web.presence import CallerLeftError
from services.edge.web.request import check_host, form_of
from services.edge.web.room import Room
from services.edge.web.sse import DEFAULT_FLOW, EventStream, Flow

SOCKET = "hasten.socket"
"""Where a scope's `state` has the connection below a request, if its server gives it."""

_LOG = logging.getLogger(__name__)
_CALLER_LEFT = 499
_SERVER_ERROR = 500
_NOBODY = Caller("", "", frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every request.

    Attributes:
        hosts: the names by which this server may be called; None means any.
        max_body_bytes: longest body.
        body_timeout_s: seconds in which it must have come.
        max_concurrency: requests served at once, besides those that are held.
        flow: how event streams are written.
        max_streams: requests that are held: event streams and long polls.
    """

    hosts: frozenset[str] | None
    max_body_bytes: int
    body_timeout_s: float
    max_concurrency: int
    flow: Flow = DEFAULT_FLOW
    max_streams: int = 1000


class Front:
    """Takes requests in, and hands them to their operations.

    Args:
        rules: what holds for every request.
        gate: knows who a caller is.
        quotas: know how much a caller may have.
        metrics: where requests are counted.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        rules: Rules,
        gate: Gate,
        quotas: Quotas,
        metrics: EdgeMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._rules = rules
        self._gate = gate
        self._quotas = quotas
        self._metrics = metrics
        self._clock = clock
        self._requests = Room(rules.max_concurrency, "requests")
        self._streams = Room(rules.max_streams, "streams")

    def route(self, operation: Operation) -> Route:
        """Return the route of an operation; its path has one for each of its methods."""
        return Route(operation.path, _Endpoint(self, operation), methods=[operation.method])

    async def serve(self, operation: Operation, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request from its arrival to the end of its answer."""
        stream = EventStream(send, scope.get("state", {}).get(SOCKET), self._rules.flow)
        exchange = self._exchange(operation, Request(scope, receive), stream)
        parent = context_of(exchange.request.headers.get(names.TRACEPARENT))
        attributes = {"http.request.method": operation.method, "http.route": operation.path}
        try:
            with span(f"{operation.method} {operation.path}", attributes, parent) as made:
                problem = await self._attempt(operation, exchange, send)
                if problem is not None:
                    await self._refuse(operation, exchange, problem, send)
                _describe(made, exchange, problem)
        finally:
            if stream.is_cut:
                self._metrics.cut(operation.name)
            took_s = self._clock() - exchange.arrived_s
            self._metrics.request(operation.name, exchange.form, exchange.status, took_s)

    @asynccontextmanager
    async def admitted(
        self, request: HTTPConnection, *, streaming: bool, right: str, room: Room | None = None
    ) -> AsyncIterator[Caller]:
        """Let a request in, and yield who sent it; what it takes is given back at the end.

        Raises:
            ProblemError: it is of nobody known, not allowed or too much.
            OverloadedError: there is no room for it.
        """
        caller = await self._gate.caller_of(request.headers, request.query_params)
        if right:
            caller.require(right)
        with room.place() if room is not None else nullcontext():
            async with self._quotas.within(caller, streaming=streaming):
                yield caller

    def _exchange(self, operation: Operation, request: Request, stream: EventStream) -> Exchange:
        return Exchange(
            request,
            stream,
            self._clock(),
            operation.max_body_bytes or self._rules.max_body_bytes,
            Patience(self._rules.body_timeout_s),
            _NOBODY,
        )

    async def _attempt(
        self, operation: Operation, exchange: Exchange, send: Send
    ) -> Problem | None:
        """Answer, or return why there is no answer."""
        try:
            await self._answer(operation, exchange, send)
        except CallerLeftError:
            exchange.status = _CALLER_LEFT
        except ProblemError as error:
            return error.problem
        except MeshError as error:
            return Problem.of(error)
        except Exception:  # noqa: BLE001 - the outer edge of a request
            incident = secrets.token_hex(8)
            _LOG.exception("incident %s", incident)
            return Problem(500, "INTERNAL", f"Something went wrong; incident {incident}.")
        return None

    async def _answer(self, operation: Operation, exchange: Exchange, send: Send) -> None:
        request = exchange.request
        check_host(request, self._rules.hosts)
        exchange.form = form_of(request, operation.forms)
        streaming = operation.is_stream or exchange.form == sse.MEDIA_TYPE
        # What is silent for long takes no room from what is soon done, nor the other way round.
        is_held = streaming or operation.is_held(request)
        room = self._streams if is_held else self._requests
        async with self.admitted(
            request, streaming=streaming, right=operation.right, room=room
        ) as caller:
            exchange.caller = caller
            exchange.stream.headers.update(self._quotas.headers(caller))
            response = await operation.handle(exchange)
            if response is not None:
                await self._send(exchange, response, send)

    async def _send(self, exchange: Exchange, response: Response, send: Send) -> None:
        exchange.status = response.status_code
        for name, value in self._quotas.headers(exchange.caller).items():
            response.headers[name] = value
        await response(exchange.request.scope, exchange.request.receive, send)

    async def _refuse(
        self, operation: Operation, exchange: Exchange, problem: Problem, send: Send
    ) -> None:
        """Say why there is no answer, in the form that is still possible."""
        if exchange.stream.is_cut:
            return  # nobody hears it
        if exchange.stream.begun:
            with suppress(CallerLeftError):  # its reader may take nothing any more
                await exchange.stream.write(operation.manner.frame(problem))
                await exchange.stream.end()
            return
        exchange.status = problem.status
        request = exchange.request
        await operation.manner.respond(problem)(request.scope, request.receive, send)


class _Endpoint:
    """An operation as an ASGI application; a function would get no `send`."""

    def __init__(self, front: Front, operation: Operation) -> None:
        self._front = front
        self._operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._front.serve(self._operation, scope, receive, send)


def _describe(made: Span, exchange: Exchange, problem: Problem | None) -> None:
    made.set_attribute("http.response.status_code", exchange.status)
    made.set_attribute(names.TENANT_ID, exchange.caller.tenant_id)
    if problem is not None:
        made.set_attribute(names.ERROR_TYPE, problem.reason)
        if problem.status >= _SERVER_ERROR:
            made.set_status(Status(StatusCode.ERROR))
