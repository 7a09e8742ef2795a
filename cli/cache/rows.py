"""Files of questions: one a line as text, or JSON objects with fields, one a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.options import SlipError
from libs.values import Filter, Quality

# What the orchestrator takes.
MAX_CHARACTERS = 8_000

Check = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One question of a file.

    Attributes:
        line: its number, from 1.
        question: what is asked.
        fields: what else the row says, checked; nothing for what it does not say.
    """

    line: int
    question: str
    fields: Mapping[str, Any]


def read_rows(path: Path, checks: Mapping[str, Check]) -> list[Row]:
    """Return the questions of a file; empty lines do not count.

    A file whose first line begins with `{` is one of JSON objects, any other is text.

    Args:
        path: the file.
        checks: by the name of each field that a row may have beside `question`, what makes
            its value or raises `ValueError`.

    Raises:
        OSError: the file cannot be read.
        SlipError: with the line, and the field of it, that cannot be meant.
    """
    lines = list(_lines(path))
    if not lines:
        raise SlipError(f"{path}: holds no question")
    is_json = lines[0][1].startswith("{")
    return [_row(path, number, line, checks, is_json=is_json) for number, line in lines]


def as_text(value: Any) -> str:
    """Return a value that must be text."""
    if not isinstance(value, str):
        raise ValueError(f"must be text, is {_kind(value)}")  # noqa: TRY004 - one kind for all
    return value


def as_name(value: Any) -> str:
    """Return a value that must be text or a whole number, as text."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number and not isinstance(value, str):
        raise ValueError(f"must be text or a whole number, is {_kind(value)}")
    return str(value)


def as_quality(value: Any) -> Quality:
    """Return a quality by its name."""
    names = [each.name.lower() for each in Quality if each]
    if not isinstance(value, str) or value.lower() not in names:
        raise ValueError(f"must be one of {', '.join(names)}, is {_shown(value)}")
    return Quality[value.upper()]


def as_schema(value: Any) -> str:
    """Return a JSON Schema, written as an object or as the text of one."""
    if isinstance(value, dict):
        return json.dumps(value)
    if not isinstance(value, str):
        raise ValueError(f"must be an object or text, is {_kind(value)}")  # noqa: TRY004
    return value


def as_filters(value: Any) -> tuple[Filter, ...]:
    """Return conditions, written as an object of one text or several by key."""
    if not isinstance(value, dict):
        raise ValueError(f"must be an object, is {_kind(value)}")  # noqa: TRY004
    return tuple(Filter(key, _texts(key, each)) for key, each in value.items())


def _texts(key: str, value: Any) -> tuple[str, ...]:
    several = value if isinstance(value, list) else [value]
    if not several or not all(isinstance(each, str) for each in several):
        raise ValueError(f"{key} must be text, or a list of texts, is {_shown(value)}")
    return tuple(several)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            try:
                line = data.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise _slip(path, number, f"is not UTF-8 at byte {error.start}") from error
            if line:
                yield number, line


def _row(path: Path, number: int, line: str, checks: Mapping[str, Check], *, is_json: bool) -> Row:
    found = _object(path, number, line) if is_json else {"question": line}
    if "question" not in found:
        raise _slip(path, number, "question: is missing")
    checked: dict[str, Any] = {}
    for name, value in found.items():
        try:
            checked[name] = _check_of(name, checks)(value)
        except ValueError as error:
            raise _slip(path, number, f"{name}: {error}") from error
    return Row(number, checked.pop("question"), checked)


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise _slip(path, number, f"is not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise _slip(path, number, "is not JSON: nested too deeply") from error
    if not isinstance(found, dict):
        raise _slip(path, number, f"is not an object, is {_kind(found)}")
    return found


def _check_of(name: str, checks: Mapping[str, Check]) -> Check:
    if name == "question":
        return _question
    if name not in checks:
        raise ValueError(f"is not known; there are question, {', '.join(checks)}")
    return checks[name]


def _question(value: Any) -> str:
    text = as_text(value)
    if not text.strip():
        raise ValueError("is empty")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"must have 1 to {MAX_CHARACTERS} characters, has {len(text)}")
    return text


def _slip(path: Path, number: int, problem: str) -> SlipError:
    return SlipError(f"{path}:{number}: {problem}")


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "null" if value is None else kinds.get(type(value), "a number")


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else _kind(value)
