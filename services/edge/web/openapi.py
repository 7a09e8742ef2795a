"""The OpenAPI document of the edge, made from its operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.edge import problem
from services.edge.web.operation import Operation, Parameter, Reply
from services.edge.web.refusals import Refusals
from services.edge.web.request import JSON

_VERSION = version("hasten")
_REF = "#/components/schemas/{model}"
_DESCRIPTION = "Answers questions from documents, inside a latency budget."
# Whatever is asked may be refused for these.
_ALWAYS = (400, 401, 403, 406, 421, 429, 500, 503, 504)
_WITH_BODY = (408, 413, 415)


def document_of(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the operations."""
    schemas = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        # A parameter that may hold slashes is marked for the router alone.
        path = each.path.replace(":path}", "}")
        paths.setdefault(path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": "hasten", "version": _VERSION, "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _schemas(operations: Sequence[Operation]) -> dict[str, Any]:
    models = {model for each in operations for model in _models(each)}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, made = models_json_schema([(model, "validation") for model in ordered], ref_template=_REF)
    refusals = {each.manner.name: dict(each.manner.schema) for each in operations}
    return {**made.get("$defs", {}), **refusals}


def _models(operation: Operation) -> list[type[BaseModel]]:
    replied = [schema for reply in operation.replies.values() for schema in reply.content.values()]
    return [each for each in (operation.body, *replied) if isinstance(each, type)]


def _operation(operation: Operation) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": _responses(operation),
    }
    if operation.parameters:
        made["parameters"] = [_parameter(each) for each in operation.parameters]
    content = _body(operation)
    if content:
        made["requestBody"] = {"required": True, "content": content}
    return made


def _body(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {
        media_type: {"schema": schema} for media_type, schema in operation.content.items()
    }
    if operation.body is not None:
        content[JSON] = {"schema": _schema(operation.body)}
    return content


def _responses(operation: Operation) -> dict[str, Any]:
    made = {str(status): _reply(reply) for status, reply in operation.replies.items()}
    refusals = {*_ALWAYS, *operation.refusals, *(_WITH_BODY if _body(operation) else ())}
    for status in sorted(refusals):
        made.setdefault(str(status), _refusal(status, operation.manner))
    return made


def _refusal(status: int, manner: Refusals) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=manner.name)}
    title = problem.title_of(status)
    return {"description": title, "content": {manner.media_type: {"schema": schema}}}


def _reply(reply: Reply) -> dict[str, Any]:
    made: dict[str, Any] = {"description": reply.summary}
    if reply.content:
        made["content"] = {
            media_type: {"schema": _schema(schema)} for media_type, schema in reply.content.items()
        }
    if reply.headers:
        made["headers"] = {
            name: {"description": says, "schema": {"type": "string"}}
            for name, says in reply.headers.items()
        }
    return made


def _schema(schema: Mapping[str, Any] | type[BaseModel]) -> Mapping[str, Any]:
    if isinstance(schema, type):
        return {"$ref": _REF.format(model=schema.__name__)}
    return schema


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.summary,
        "required": parameter.required or parameter.place == "path",
        "schema": parameter.schema,
    }
