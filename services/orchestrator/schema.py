"""Output schemas: checked when they come, and again when the text has ended."""

from __future__ import annotations

import json

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from libs.errors import InvalidFieldError

_MOST_BYTES = 16_384


def check_schema(schema: str) -> None:
    """Refuse what is not a JSON Schema.

    Raises:
        InvalidFieldError: it is too long, no JSON, or no schema.
    """
    if not schema:
        return
    size_bytes = len(schema.encode())
    if size_bytes > _MOST_BYTES:
        problem = f"must have at most {_MOST_BYTES} bytes, has {size_bytes}"
        raise InvalidFieldError("output_schema", problem)
    try:
        Draft202012Validator.check_schema(json.loads(schema))
    except (ValueError, SchemaError) as error:
        raise InvalidFieldError("output_schema", "must be a JSON Schema (2020-12)") from error


def satisfies(text: str, schema: str) -> bool:
    """Return whether a text is JSON that a schema admits; any text satisfies no schema at all."""
    if not schema:
        return True
    try:
        return bool(Draft202012Validator(json.loads(schema)).is_valid(json.loads(text)))
    except ValueError:
        return False
