"""Whether a long JSON text has the form of its model, before its model reads it.

Pydantic makes objects of everything, and an error for each value that is wrong: millions of them
take half a minute, in which no other thread of Python runs either. This looks at the same fields
and types, keeps nothing, and ends at the first mistake. It lets through whatever it does not know.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from annotated_types import MaxLen
from pydantic import BaseModel

LONG_BYTES = 16 * 1024
"""What is shorter is read in some milliseconds, whatever it holds."""

# What is not looked into, such as a schema, may be so long at the first level.
_MOST_RAW_BYTES = 64 * 1024
_NAMED = re.compile(r"^Object (contains unknown|missing required) field `(?P<name>.*?)`")
_PLACE = re.compile(r" - at `\$\.?(?P<place>.*)`$")


class NotJsonError(ValueError):
    """A text is no JSON."""


class BadFormError(ValueError):
    """A text has not the form of its model.

    Attributes:
        field: where, as in `files[0].name`; empty for the whole.
        is_unknown: True if the model has no such field.
    """

    def __init__(self, message: str, field: str, *, is_unknown: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.is_unknown = is_unknown


def screen(model: type[BaseModel], raw: bytes) -> None:
    """Refuse a long text that has not the form of a model; a short one is left to the model.

    Raises:
        NotJsonError: it is no JSON.
        BadFormError: it is not of that form.
    """
    if len(raw) <= LONG_BYTES:
        return
    try:
        decoded = _decoder(model).decode(raw)
    except msgspec.ValidationError as error:
        raise _bad_form(str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotJsonError(str(error)) from error
    for name, most, unit in _too_long(model, decoded):
        raise BadFormError(f"must have at most {most} {unit}", name)


def _too_long(model: type[BaseModel], decoded: Any) -> Iterator[tuple[str, int, str]]:
    """Yield the fields of the first level that are longer than they may be."""
    for name, field in model.model_fields.items():
        value = getattr(decoded, name)
        if isinstance(value, msgspec.Raw) and len(memoryview(value)) > _MOST_RAW_BYTES:
            yield name, _MOST_RAW_BYTES, "bytes"
        limits = [each.max_length for each in field.metadata if isinstance(each, MaxLen)]
        if isinstance(value, tuple) and limits and len(value) > min(limits):
            yield name, min(limits), "entries"


@functools.cache
def _decoder(model: type[BaseModel]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_form_of(model))


def _form_of(kind: Any) -> Any:
    """Return what stands for a type: what may be anything is not looked into."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _form_of(get_args(kind)[0])
    if origin in (Literal, Union, UnionType):
        form = type if origin is Literal else _form_of
        return _one_of([form(each) for each in get_args(kind)])
    if origin is tuple:
        return tuple[_form_of(get_args(kind)[0]), ...]  # type: ignore[misc]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _object_of(kind)
    if kind in (str, int, float, bool, NoneType) or kind == dict[str, str]:
        return kind
    return msgspec.Raw


def _one_of(forms: list[Any]) -> Any:
    if msgspec.Raw in forms:
        return msgspec.Raw
    union = functools.reduce(operator.or_, forms)
    try:
        msgspec.json.Decoder(union)
    except TypeError:  # two kinds of objects that nothing tells apart
        return msgspec.Raw
    return union


def _object_of(model: type[BaseModel]) -> Any:
    fields = [
        (name, _form_of(field.annotation))
        if field.is_required()
        else (name, _form_of(field.annotation), None)
        for name, field in model.model_fields.items()
    ]
    named = {name: field.alias for name, field in model.model_fields.items() if field.alias}
    knows_all = model.model_config.get("extra") == "forbid"
    return msgspec.defstruct(
        model.__name__, fields, forbid_unknown_fields=knows_all, kw_only=True, rename=named
    )


def _bad_form(message: str) -> BadFormError:
    place = _PLACE.search(message)
    field = place["place"] if place else ""
    named = _NAMED.match(message)
    if named:
        field = f"{field}.{named['name']}".removeprefix(".")
    if message.startswith("Object contains"):
        return BadFormError("the field is not known", field, is_unknown=True)
    return BadFormError(_PLACE.sub("", message), field)
