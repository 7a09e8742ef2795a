"""What a submission may look like, and what makes two of them the same."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from libs.errors import InvalidFieldError
from libs.screening import BadFormError, screen
from libs.values.jobs import MAX_INPUT_BYTES, Submission
from services.jobs.kinds import Kind

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PLACES = re.compile(r"[a-z0-9_]+")
_PART = re.compile(r"[a-z0-9_]+")
_KEY = re.compile(r"[!-~]{1,128}")
_LEAST_TTL_S, _MOST_TTL_S = 1.0, 30 * 86_400.0
# What takes longer to be looked at than a call may hold up all others.
_LARGE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of a submission that can be done.

    Attributes:
        digest: of what is to be done.
        scope: the access scope of the job: where it names none, that of its input. A job
            without one is seen by the whole tenant.
    """

    digest: str
    scope: str


async def check_submission(submission: Submission, kinds: Mapping[str, Kind[Any]]) -> Checked:
    """Refuse what cannot be done.

    Raises:
        InvalidFieldError: names the field and its limit, `input.<field>` for those of a kind.
    """
    check_name(submission.tenant_id, "tenant_id")
    kind = kinds.get(submission.kind)
    if kind is None:
        raise InvalidFieldError("kind", f"must be one of {', '.join(sorted(kinds))}")
    if submission.scope:
        check_name(submission.scope, "scope")
    if submission.idempotency_key and not _KEY.fullmatch(submission.idempotency_key):
        problem = "must be 1 to 128 printable ASCII characters without spaces"
        raise InvalidFieldError("idempotency_key", problem)
    ttl_s = submission.result_ttl_s
    if ttl_s is not None and not _LEAST_TTL_S <= ttl_s <= _MOST_TTL_S:
        raise InvalidFieldError("result_ttl", f"must be 1 s to 30 days, is {ttl_s:g} s")
    size = len(submission.input)
    if size > MAX_INPUT_BYTES:
        problem = f"must have at most {MAX_INPUT_BYTES} bytes, has {size}"
        raise InvalidFieldError("input", problem)
    if size > _LARGE_BYTES:
        return await asyncio.to_thread(_check_input, submission, kind)
    return _check_input(submission, kind)


def check_name(name: str, field: str) -> None:
    """Refuse what is no name.

    Raises:
        InvalidFieldError: names the field and its limit.
    """
    if not _NAME.fullmatch(name):
        problem = "must be 1 to 64 characters of letters, digits, '-', '_' and '.'"
        raise InvalidFieldError(field, problem)


def _check_input(submission: Submission, kind: Kind[Any]) -> Checked:
    try:
        screen(kind.input, submission.input)
        given = kind.input.model_validate_json(submission.input)
        scope = submission.scope or getattr(given, "scope", None) or ""
        return Checked(_digest(submission), scope)
    except ValidationError as error:
        raise _refusal(error) from error
    except BadFormError as error:
        place = ".".join(["input", *_PLACES.findall(error.field)])
        raise InvalidFieldError(place, str(error)) from error
    except RecursionError as error:
        raise InvalidFieldError("input", "is nested too deeply") from error
    except ValueError as error:  # not finite, or of thousands of digits
        problem = "must hold only numbers and texts that JSON has"
        raise InvalidFieldError("input", problem) from error


def _refusal(error: ValidationError) -> InvalidFieldError:
    """Return what is wrong first; never with what was given, which may be large or secret."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # A union says by names of types which of its members did not fit; a caller knows none.
    parts = [str(each) for each in first["loc"] if _PART.fullmatch(str(each))]
    place = ".".join(["input", *parts])
    return InvalidFieldError(place, first["msg"])


def _digest(submission: Submission) -> str:
    """Return a digest that two inputs share if they differ in spaces and order alone."""
    given = json.loads(submission.input)
    plain = json.dumps(given, sort_keys=True, separators=(",", ":"), allow_nan=False)
    told = json.dumps([submission.kind, submission.scope, plain])
    return hashlib.sha256(told.encode()).hexdigest()
