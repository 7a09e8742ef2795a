"""The edge's paths, and what every one of them answers when it cannot."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route

from services.edge.problem import Problem
from services.edge.web.front import Front
from services.edge.web.openapi import document_of
from services.edge.web.operation import Operation
from services.edge.web.readiness import Readiness
from services.edge.web.request import JSON

Plain = Callable[[Request], Awaitable[Response]]


def make_app(
    front: Front,
    operations: Sequence[Operation],
    readiness: Readiness,
    registry: CollectorRegistry,
    others: Sequence[BaseRoute] = (),
) -> Starlette:
    """Return the application with all its paths.

    Args:
        front: what every request goes through.
        operations: what can be asked; they make the OpenAPI document too.
        readiness: whether questions may come here now.
        registry: the metrics that are shown.
        others: routes that are no operations, such as those of WebSockets.
    """
    app = Starlette(
        routes=[
            *map(front.route, operations),
            *others,
            Route("/openapi.json", _openapi(operations)),
            Route("/healthz", _is_alive),
            Route("/readyz", _is_ready(readiness)),
            Route("/metrics", _metrics(registry)),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    # It would lead to whatever the Host header says, and to http:// behind a proxy of TLS.
    app.router.redirect_slashes = False
    return app


async def _is_alive(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def _is_ready(readiness: Readiness) -> Plain:
    async def is_ready(_: Request) -> Response:
        if await readiness.is_ready():
            return PlainTextResponse("ready\n")
        return Problem(503, "NOT_READY", "The orchestrator is not ready.").response()

    return is_ready


def _metrics(registry: CollectorRegistry) -> Plain:
    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

    return metrics


def _openapi(operations: Sequence[Operation]) -> Plain:
    body = json.dumps(document_of(operations)).encode()

    async def openapi(_: Request) -> Response:
        return Response(body, media_type=JSON)

    return openapi


async def _refused(request: Request, error: Exception) -> Response:
    """Answer for a path that is not there, or a method that it has not."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    phrase = HTTPStatus(status)
    problem = Problem(status, phrase.name, f"{phrase.description or phrase.phrase}.")
    headers = dict(getattr(error, "headers", None) or {})
    if "Allow" in headers:
        # The error knows of the first of the path's routes alone; each method has its own.
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return problem.response(headers)


def _methods(request: Request) -> set[str]:
    """Return all methods that there are for a path."""
    routes = [each for each in request.app.routes if isinstance(each, Route)]
    matching = [each for each in routes if each.matches(request.scope)[0] is not Match.NONE]
    return {method for each in matching for method in each.methods or ()}


async def _failed(_: Request, __: Exception) -> Response:
    """Answer for a fault of ours; the server logs it."""
    return Problem(500, "INTERNAL", "Something went wrong that should not.").response()
