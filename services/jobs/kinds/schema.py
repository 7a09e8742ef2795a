"""JSON that a model writes, and the schemas that it is to satisfy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

MOST_SCHEMA_BYTES = 16_384
_FENCED = re.compile(r"\A```\w*\s*\n(?P<inside>.*)\n\s*```\Z", re.DOTALL)
_MOST_SHOWN = 300


class BadOutputError(ValueError):
    """What a model wrote is not what it was asked for; the text says why."""


def checked_schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema that can be used.

    Raises:
        ValueError: it is none, is too long, or points out of itself.
    """
    try:
        size_bytes = len(json.dumps(schema, allow_nan=False).encode())
        Draft202012Validator.check_schema(schema)
        references = list(_references(schema))
    except (SchemaError, RecursionError, ValueError) as error:
        raise ValueError("must be a JSON Schema (2020-12)") from error
    if size_bytes > MOST_SCHEMA_BYTES:
        raise ValueError(f"must have at most {MOST_SCHEMA_BYTES} bytes, has {size_bytes}")
    if any(not each.startswith("#") for each in references):
        raise ValueError("must not refer to other schemas")
    return schema


class Form:
    """A schema, and whether what was written satisfies it; nothing is fetched for it."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.text = json.dumps(schema, ensure_ascii=False)
        self._validator = Draft202012Validator(schema, registry=Registry())

    def read(self, text: str) -> Any:
        """Return the value that a text spells.

        Raises:
            BadOutputError: it is no JSON, or does not satisfy the schema.
        """
        value = parsed(text)
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Check a value.

        Raises:
            BadOutputError: it does not satisfy the schema; the text says where and why.
        """
        try:
            error = best_match(self._validator.iter_errors(value))
        except (RecursionError, Unresolvable, re.error) as broken:
            raise BadOutputError("the schema cannot be applied") from broken
        if error is not None:
            place = error.json_path.removeprefix("$").removeprefix(".")
            message = error.message[:_MOST_SHOWN]
            raise BadOutputError(f"{place}: {message}" if place else message)


def parsed(text: str) -> Any:
    """Return the value that a text spells, which may stand between a fence's lines.

    Raises:
        BadOutputError: it spells none.
    """
    text = text.strip()
    fenced = _FENCED.match(text)
    try:
        value = json.loads(fenced["inside"] if fenced else text)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadOutputError("it is no JSON") from error
    return value


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)
