"""The edge's paths, and what every one of them answers when it cannot."""

from __future__ import annotations

from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.edge import answers
from services.edge.answers import AnswersEndpoint
from services.edge.problem import Problem
from services.edge.readiness import Readiness


def make_app(
    endpoint: AnswersEndpoint, readiness: Readiness, registry: CollectorRegistry
) -> Starlette:
    """Return the application with all its paths."""

    async def is_alive(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def is_ready(_: Request) -> Response:
        if await readiness.is_ready():
            return PlainTextResponse("ready\n")
        return Problem(503, "NOT_READY", "The orchestrator is not ready.").response()

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

    return Starlette(
        routes=[
            Route(answers.PATH, endpoint, methods=["POST"]),
            Route("/healthz", is_alive),
            Route("/readyz", is_ready),
            Route("/metrics", metrics),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )


async def _refused(_: Request, error: Exception) -> Response:
    """Answer for a path that is not there, or a method that it has not."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    phrase = HTTPStatus(status)
    problem = Problem(status, phrase.name, f"{phrase.description or phrase.phrase}.")
    return problem.response(getattr(error, "headers", None))


async def _failed(_: Request, __: Exception) -> Response:
    """Answer for a fault of ours; the server logs it."""
    return Problem(500, "INTERNAL", "Something went wrong that should not.").response()
