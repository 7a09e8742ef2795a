"""Output schemas: checked when they come, and again when the text has ended."""

from __future__ import annotations

import json
from functools import lru_cache

from libs.errors import InvalidFieldError
from libs.schemas import MOST_BYTES, require_admitted, require_schema


def check_schema(schema: str) -> None:
    """Refuse what is not a JSON Schema.

    Raises:
        InvalidFieldError: it is too long, no JSON, no schema, or refers to others.
    """
    if not schema:
        return
    size_bytes = len(schema.encode())
    if size_bytes > MOST_BYTES:
        problem = f"must have at most {MOST_BYTES} bytes, has {size_bytes}"
        raise InvalidFieldError("output_schema", problem)
    problem = _problem_of(schema)
    if problem:
        raise InvalidFieldError("output_schema", problem)


# Callers send the same again and again.
@lru_cache(maxsize=256)
def _problem_of(schema: str) -> str:
    try:
        parsed = json.loads(schema)
    except (ValueError, RecursionError):
        return "must be a JSON Schema (2020-12)"
    try:
        require_schema(parsed)
    except ValueError as error:
        return str(error)
    return ""


def satisfies(text: str, schema: str) -> bool:
    """Return whether a text is JSON that a schema admits; any text satisfies no schema at all."""
    if not schema:
        return True
    try:
        require_admitted(json.loads(text), json.loads(schema))
    except (ValueError, RecursionError):
        return False
    return True
