"""Output schemas: checked when they come, and again when the text has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

from libs.errors import InvalidFieldError

_MOST_BYTES = 16_384


def check_schema(schema: str) -> None:
    """Refuse what is not a JSON Schema.

    Raises:
        InvalidFieldError: it is too long, no JSON, no schema, or refers to others.
    """
    if not schema:
        return
    size_bytes = len(schema.encode())
    if size_bytes > _MOST_BYTES:
        problem = f"must have at most {_MOST_BYTES} bytes, has {size_bytes}"
        raise InvalidFieldError("output_schema", problem)
    try:
        parsed = json.loads(schema)
        Draft202012Validator.check_schema(parsed)
        is_whole = all(each.startswith("#") for each in _references(parsed))
    except (ValueError, RecursionError, SchemaError) as error:
        raise InvalidFieldError("output_schema", "must be a JSON Schema (2020-12)") from error
    if not is_whole:
        raise InvalidFieldError("output_schema", "must not refer to other schemas")


def satisfies(text: str, schema: str) -> bool:
    """Return whether a text is JSON that a schema admits; any text satisfies no schema at all."""
    if not schema:
        return True
    try:
        # Without a registry of its own a validator fetches what a schema refers to.
        validator = Draft202012Validator(json.loads(schema), registry=Registry())
        return bool(validator.is_valid(json.loads(text)))
    except (ValueError, RecursionError, Unresolvable):
        return False


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)
