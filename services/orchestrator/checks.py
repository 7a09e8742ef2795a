"""What a question may look like: limits, each named in the error that a breach raises."""

from __future__ import annotations

import re

from libs.errors import InvalidFieldError
from libs.values import Filter, Question, Render, Role, Turn
from services.orchestrator.schema import check_schema

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MOST_CHARACTERS = 8_000
_MOST_TURNS = 50
_MOST_FILTERS = 16
_MOST_KEY = 64
_MOST_VALUES = 32
_MOST_VALUE = 256
_MOST_ID = 64


def check_question(question: Question) -> None:
    """Refuse a question outside the contract's limits.

    Raises:
        InvalidFieldError: names the field and its limit.
    """
    _check_text(question.question, "question")
    _check_name(question.collection, "collection")
    if question.scope:
        _check_name(question.scope, "scope")
    _check_count(len(question.history), "history", _MOST_TURNS, "turns")
    for index, turn in enumerate(question.history):
        _check_turn(turn, f"history[{index}]")
    _check_count(len(question.filters), "filters", _MOST_FILTERS, "conditions")
    for index, each in enumerate(question.filters):
        _check_filter(each, f"filters[{index}]")
    check_schema(question.output_schema)
    if question.output_schema and question.render is Render.OUTLINE:
        raise InvalidFieldError("render", "an answer to an output schema has no outline")


def check_run_id(run_id: str, after_sequence: int = 0) -> None:
    """Refuse what cannot be a run's name or a position in it.

    Raises:
        InvalidFieldError: names the field and its limit.
    """
    if not 1 <= len(run_id) <= _MOST_ID:
        problem = f"must have 1 to {_MOST_ID} characters, has {len(run_id)}"
        raise InvalidFieldError("run_id", problem)
    if after_sequence < 0:
        raise InvalidFieldError("after_sequence", f"must be at least 0, is {after_sequence}")


def _check_text(text: str, field: str) -> None:
    if not text.strip():
        raise InvalidFieldError(field, f"must have 1 to {_MOST_CHARACTERS} characters, is empty")
    if len(text) > _MOST_CHARACTERS:
        problem = f"must have at most {_MOST_CHARACTERS} characters, has {len(text)}"
        raise InvalidFieldError(field, problem)


def _check_name(name: str, field: str) -> None:
    if not _NAME.fullmatch(name):
        problem = "must be 1 to 64 characters of letters, digits, '-', '_' and '.'"
        raise InvalidFieldError(field, problem)


def _check_count(count: int, field: str, most: int, what: str) -> None:
    if count > most:
        raise InvalidFieldError(field, f"must have at most {most} {what}, has {count}")


def _check_turn(turn: Turn, field: str) -> None:
    if turn.role is Role.UNSPECIFIED:
        raise InvalidFieldError(f"{field}.role", "must be user or assistant")
    _check_text(turn.text, f"{field}.text")


def _check_filter(condition: Filter, field: str) -> None:
    if not 1 <= len(condition.key) <= _MOST_KEY:
        problem = f"must have 1 to {_MOST_KEY} characters, has {len(condition.key)}"
        raise InvalidFieldError(f"{field}.key", problem)
    if not condition.any_of:
        raise InvalidFieldError(
            f"{field}.any_of", f"must have 1 to {_MOST_VALUES} values, is empty"
        )
    _check_count(len(condition.any_of), f"{field}.any_of", _MOST_VALUES, "values")
    for index, value in enumerate(condition.any_of):
        if len(value) > _MOST_VALUE:
            problem = f"must have at most {_MOST_VALUE} characters, has {len(value)}"
            raise InvalidFieldError(f"{field}.any_of[{index}]", problem)
