"""JSON that a model writes, and the schemas that it is to satisfy."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from libs.schemas import NotAdmittedError, require_admitted, require_schema

_FENCED = re.compile(r"\A```\w*\s*\n(?P<inside>.*)\n\s*```\Z", re.DOTALL)
_MOST_SHOWN = 300


class BadOutputError(ValueError):
    """What a model wrote is not what it was asked for; the text says why."""


def checked_schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema that can be used.

    Raises:
        ValueError: it is none, is too long, or points out of itself.
    """
    require_schema(schema)
    return schema


class Form:
    """A schema, and whether what was written satisfies it."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.text = json.dumps(schema, ensure_ascii=False)
        self._schema = schema

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
            require_admitted(value, self._schema)
        except NotAdmittedError as error:
            raise BadOutputError(str(error)[:_MOST_SHOWN]) from error


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
