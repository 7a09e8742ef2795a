"""Whether a long body has the form of its model, before its model reads it.

Pydantic makes objects of everything, and an error for each value that is wrong: millions of them
hold the event loop for half a minute. This looks at the same fields and types, keeps nothing, and
ends at the first mistake.
"""

from __future__ import annotations

import functools
import re
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel

from services.edge.problem import Problem, ProblemError

LONG_BYTES = 16 * 1024
"""What is shorter is read in some milliseconds, whatever it holds."""

_NAMED = re.compile(r"^Object (contains unknown|missing required) field `(?P<name>.*?)`")
_PLACE = re.compile(r" - at `\$\.?(?P<place>.*)`$")


def screen(model: type[BaseModel], raw: bytes) -> None:
    """Refuse a body that has not the form of a model.

    Raises:
        ProblemError: it is no JSON, or not of that form; the problem names the field.
    """
    try:
        _decoder(model).decode(raw)
    except msgspec.ValidationError as error:
        raise ProblemError(_problem(str(error))) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProblemError(Problem(400, "INVALID_JSON", f"The body: {error}.")) from error


@functools.cache
def _decoder(model: type[BaseModel]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_form_of(model))


def _form_of(kind: Any) -> Any:
    """Return what stands for a type: what is of many forms, or of any, is not looked into."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _object_of(kind)
    if get_origin(kind) in (Union, UnionType):
        forms = [each for each in get_args(kind) if each is not NoneType]
        inner = _form_of(forms[0]) if len(forms) == 1 else msgspec.Raw
        return inner if inner is msgspec.Raw else inner | None
    if get_origin(kind) is tuple:
        return tuple[_form_of(get_args(kind)[0]), ...]  # type: ignore[misc]
    if kind in (str, int, float, bool) or kind == dict[str, str]:
        return kind
    return msgspec.Raw


def _object_of(model: type[BaseModel]) -> Any:
    fields = [
        (name, _form_of(field.annotation))
        if field.is_required()
        else (name, _form_of(field.annotation), None)
        for name, field in model.model_fields.items()
    ]
    knows_all = model.model_config.get("extra") == "forbid"
    return msgspec.defstruct(model.__name__, fields, forbid_unknown_fields=knows_all)


def _problem(message: str) -> Problem:
    place = _PLACE.search(message)
    field = place["place"] if place else ""
    named = _NAMED.match(message)
    if named:
        field = f"{field}.{named['name']}".removeprefix(".")
    if message.startswith("Object contains"):
        return Problem(400, "UNKNOWN_FIELD", f"{field}: the field is not known", field)
    said = _PLACE.sub("", message)
    return Problem(400, "INVALID_FIELD", f"{field}: {said}" if field else said, field)
