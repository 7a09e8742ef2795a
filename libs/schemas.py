"""JSON Schemas that callers send: which are taken, what they admit; nothing is fetched for one."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import jsonschema_rs
import regex
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

MOST_BYTES = 16_384
"""The longest schema that is taken, as JSON in UTF-8."""
# Keywords that are applied for one value: half a second. Each reference may lead to two more, so
# without a bound a schema of 2 KB takes days.
_MOST_STEPS = 30_000
_META = jsonschema_rs.meta
# Keywords whose members are values, not schemas.
_VALUES = frozenset({"const", "default", "enum", "examples"})
_steps_left: ContextVar[int] = ContextVar("steps_left")
# Seconds for all patterns that are applied for one value: some take twice as long for each
# character more (catastrophic backtracking).
_PATTERNS_S = 0.1
_patterns_end_s: ContextVar[float] = ContextVar("patterns_end_s")


class _EndlessError(Exception):
    """A schema takes more steps than it may."""


# What a schema may do to whoever applies it: nest too deep, refer to nothing, hold no pattern,
# come to no end.
_BROKEN = (RecursionError, Unresolvable, re.error, regex.error, _EndlessError)


def _counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
    """Return what applies a keyword and counts that as a step."""

    def apply(*args: Any) -> Any:
        left = _steps_left.get()
        if not left:
            raise _EndlessError
        _steps_left.set(left - 1)
        return keyword(*args)

    return apply


def _pattern(validator: Any, pattern: str, value: Any, _: Any) -> Iterator[ValidationError]:
    if not validator.is_type(value, "string"):
        return
    left_s = _patterns_end_s.get() - time.monotonic()
    if left_s <= 0:
        raise _EndlessError
    try:
        found = regex.search(pattern, value, timeout=left_s)
    except TimeoutError as error:
        raise _EndlessError from error
    if not found:
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Validator = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        name: _counted(keyword)
        for name, keyword in {**Draft202012Validator.VALIDATORS, "pattern": _pattern}.items()
    },
)


class NotAdmittedError(ValueError):
    """A value does not satisfy a schema; the text says where and why."""


def require_schema(schema: Any) -> None:
    """Refuse what cannot be used as a schema.

    Raises:
        ValueError: it is none, is too long, or refers to what is outside of it.
    """
    try:
        size_bytes = len(json.dumps(schema, allow_nan=False).encode())
        references = list(_references(schema))
        if size_bytes <= MOST_BYTES:
            _check(schema)
    except (jsonschema_rs.ValidationError, RecursionError, ValueError, re.error) as error:
        raise ValueError("must be a JSON Schema (2020-12)") from error
    if size_bytes > MOST_BYTES:
        raise ValueError(f"must have at most {MOST_BYTES} bytes, has {size_bytes}")
    if any(not each.startswith("#") for each in references):
        raise ValueError("must not refer to other schemas")
    # They are applied in more places than one, which know no limit. Without groups none is endless.
    if any("(" in each for each in _property_patterns(schema)):
        raise ValueError("must have no groups in the names of patternProperties")


def _check(schema: Any) -> None:
    """Check what is short against the schema of schemas.

    In Rust: the validator of Python takes half a second for 16 KB, and an event loop waits.
    """
    if not isinstance(schema, Mapping):
        _META.validate(schema)
        return
    dialect = schema.get("$schema", "")
    if not isinstance(dialect, str):
        raise ValueError("$schema: must be a text")  # noqa: TRY004 - a schema that is none
    _META.validate({key: value for key, value in schema.items() if key != "$schema"})
    for pattern in _patterns(schema):
        re.compile(pattern)


def _patterns(schema: Any) -> Iterator[str]:
    """Yield every pattern of a schema; what is in values that it names is none."""
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "pattern" and isinstance(value, str):
                yield value
            elif key == "patternProperties" and isinstance(value, Mapping):
                yield from value
            if key not in _VALUES:
                yield from _patterns(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _patterns(each)


def require_admitted(value: Any, schema: Any) -> None:
    """Check a value against a schema that `require_schema` has taken.

    Raises:
        NotAdmittedError: it does not satisfy the schema, or that cannot be told.
    """
    _steps_left.set(_MOST_STEPS)
    _patterns_end_s.set(time.monotonic() + _PATTERNS_S)
    try:
        # Without a registry of its own a validator fetches what a schema refers to.
        validator = _Validator(_of_one_dialect(schema), registry=Registry())
        error = best_match(validator.iter_errors(value))
    except _BROKEN as broken:
        raise NotAdmittedError("the schema cannot be applied") from broken
    if error is not None:
        place = error.json_path.removeprefix("$").removeprefix(".")
        raise NotAdmittedError(f"{place}: {error.message}" if place else error.message)


def _of_one_dialect(schema: Any) -> Any:
    """Return a schema whose parts name no dialect: that would choose a validator without steps."""
    if isinstance(schema, Mapping):
        return {
            key: _of_one_dialect(value)
            for key, value in schema.items()
            if key != "$schema" or not isinstance(value, str)
        }
    return list(map(_of_one_dialect, schema)) if isinstance(schema, list) else schema


def _property_patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "patternProperties" and isinstance(value, Mapping):
                yield from value
            yield from _property_patterns(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _property_patterns(each)


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)
