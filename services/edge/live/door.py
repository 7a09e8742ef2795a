"""`/v1/ws`: one WebSocket for many jobs and runs."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from libs.errors import MeshError, OverloadedError
from services.edge.access.caller import ALL
from services.edge.live import messages
from services.edge.live.codes import code_of
from services.edge.live.metrics import LiveMetrics
from services.edge.live.protocol import CUT, Cut
from services.edge.live.session import Session, Terms
from services.edge.live.subjects import RIGHTS, Subjects
from services.edge.problem import Problem, ProblemError
from services.edge.web.front import Front
from services.edge.web.origin import check_origin
from services.edge.web.request import check_host

_LOG = logging.getLogger(__name__)
PATH = "/v1/ws"
SUBPROTOCOL = "hasten.v1"
"""What a browser offers beside its key: it takes no socket that chose none of its offers."""

_RETRY_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class Entrance:
    """Who may open sockets, and how many.

    Attributes:
        hosts: the names by which this server may be called; None means any.
        origins: the sites whose pages may open sockets, besides its own; `*` is any.
        max_sockets: sockets that are open at once.
    """

    hosts: frozenset[str] | None
    origins: frozenset[str]
    max_sockets: int


class Door:
    """Lets sockets in.

    Args:
        front: knows callers and their quotas.
        subjects: what can be followed.
        entrance: who may come in.
        terms: what every socket keeps to.
        metrics: where sockets are counted.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        front: Front,
        subjects: Subjects,
        entrance: Entrance,
        terms: Terms,
        metrics: LiveMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._front = front
        self._subjects = subjects
        self._entrance = entrance
        self._terms = terms
        self._metrics = metrics
        self._clock = clock
        self._open = 0

    def route(self) -> WebSocketRoute:
        """Return the route of the socket."""
        return WebSocketRoute(PATH, _Endpoint(self))

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket from its handshake to its end."""
        socket = WebSocket(scope, receive, send)
        try:
            check_host(socket, self._entrance.hosts)
            check_origin(socket.headers, self._entrance.origins)
        except ProblemError as error:
            # A page of another site is not even told who the caller is.
            await socket.send_denial_response(error.problem.response())
            return
        offered = scope["subprotocols"]
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        cut = self._counting(scope["extensions"][CUT])
        problem = await self._attempt(socket, cut)
        if problem is not None:
            await _refuse(socket, cut, problem)

    async def _attempt(self, socket: WebSocket, cut: Cut) -> Problem | None:
        """Serve a socket, or return why it is not."""
        self._open += 1
        try:
            with self._metrics.open():
                await self._admit(socket, cut)
        except ProblemError as error:
            return error.problem
        except MeshError as error:
            return Problem.of(error)
        except Exception:  # noqa: BLE001 - the outer edge of a socket
            incident = secrets.token_hex(8)
            _LOG.exception("incident %s", incident)
            return Problem(500, "INTERNAL", f"Something went wrong; incident {incident}.")
        finally:
            self._open -= 1
        return None

    async def _admit(self, socket: WebSocket, cut: Cut) -> None:
        if self._open > self._entrance.max_sockets:
            raise OverloadedError("too many sockets", retry_after_s=_RETRY_AFTER_S)
        async with self._front.admitted(socket, streaming=True, right="") as caller:
            if not caller.rights & {ALL, *RIGHTS.values()}:
                caller.require(RIGHTS["job"])
            await Session(socket, cut, caller, self._subjects, self._terms, self._clock).run()

    def _counting(self, cut: Cut) -> Cut:
        def counted(code: int, reason: str) -> None:
            self._metrics.closed(code)
            cut(code, reason)

        return counted


async def _refuse(socket: WebSocket, cut: Cut, problem: Problem) -> None:
    """Say why there is no socket; a browser shows no status of a handshake, but this."""
    with suppress(WebSocketDisconnect, RuntimeError):  # it may be gone already
        await socket.send_text(messages.error(problem))
    cut(code_of(problem), problem.reason)


class _Endpoint:
    """The door as an ASGI application; a function would get a session of Starlette's."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._door.serve(scope, receive, send)
