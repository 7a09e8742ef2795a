"""What the edge can do: each operation with its path, its form and what it answers.

The routes and the OpenAPI document are both made from these, so neither can say what the
other does not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from services.edge.web.exchange import Exchange
from services.edge.web.refusals import PROBLEMS, Refusals
from services.edge.web.request import JSON

Handler = Callable[[Exchange], Awaitable[Response | None]]
Schema = Mapping[str, Any]
"""A JSON Schema, as OpenAPI 3.1 takes it."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something that is read from a request besides its body.

    Attributes:
        name: as it stands in the path, the query or the header.
        place: where it stands.
        summary: what it says.
        schema: which values it may have.
        required: True if a request without it is refused.
    """

    name: str
    place: Literal["path", "query", "header"]
    summary: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A response that an operation may give.

    Attributes:
        summary: when it is given.
        content: schemas by media type; empty for a response without a body.
        headers: what its headers say, by their names.
    """

    summary: str
    content: Mapping[str, Schema | type[BaseModel]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        method: the HTTP method.
        path: the path, its parameters in braces.
        name: unique; `operationId` and the name of the span and the metric.
        summary: what it does, in a line.
        handle: does it; returns the response, or None if it has sent one by the stream.
        right: what a caller must be allowed; empty lets in whoever is known.
        replies: the responses besides refusals, by status.
        body: the model of its JSON body.
        content: schemas of its body by media type, where it is not JSON alone.
        parameters: what else it reads.
        forms: media types of its answer, the default first.
        max_body_bytes: the longest body that is read; 0 leaves it to the settings.
        refusals: statuses of problems besides those that every operation may answer.
        manner: how refusals look.
        is_stream: True counts each request as a stream while it lasts, whatever its form: for
            where the body says whether it is one, which is read when the request is let in.
        is_held: says of a request whether it waits for something to happen, though its answer is
            no stream.
    """

    method: str
    path: str
    name: str
    summary: str
    handle: Handler
    right: str
    replies: Mapping[int, Reply]
    body: type[BaseModel] | None = None
    content: Mapping[str, Schema] = field(default_factory=dict)
    parameters: tuple[Parameter, ...] = ()
    forms: tuple[str, ...] = (JSON,)
    max_body_bytes: int = 0
    refusals: tuple[int, ...] = ()
    manner: Refusals = PROBLEMS
    is_stream: bool = False
    is_held: Callable[[Request], bool] = lambda _: False
