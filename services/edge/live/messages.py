"""What callers say over a WebSocket, and what they are told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from services.edge.problem import Problem, ProblemError
from services.edge.web.body import Strict
from services.edge.web.query import MOST_NUMBER

_Id = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.-]+$")]
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Subject:
    """What is followed: a job or a run."""

    kind: Literal["job", "run"]
    id: str

    @property
    def member(self) -> str:
        """The member of a message that names it."""
        return f'"{self.kind}":{_encode(self.id)}'


class _About(Strict):
    job: _Id | None = None
    run: _Id | None = None

    @model_validator(mode="after")
    def _names_one(self) -> _About:
        if (self.job is None) == (self.run is None):
            raise ValueError("either job or run must be given")
        return self

    @property
    def subject(self) -> Subject:
        """What it is about."""
        if self.job is not None:
            return Subject("job", self.job)
        return Subject("run", self.run or "")


class Subscribe(_About):
    """Tell all events behind the number `after`."""

    type: Literal["subscribe"]
    after: int = Field(0, ge=0, le=MOST_NUMBER)


class Unsubscribe(_About):
    """Tell no more."""

    type: Literal["unsubscribe"]


class Ping(Strict):
    """Say that you are there; browsers cannot send the pings of the protocol."""

    type: Literal["ping"]


Message = Subscribe | Unsubscribe | Ping
_MESSAGES: TypeAdapter[Message] = TypeAdapter(
    Annotated[Subscribe | Unsubscribe | Ping, Field(discriminator="type")]
)

PONG = '{"type":"pong"}'


def read_message(text: str) -> Message:
    """Return what a caller says.

    Raises:
        ProblemError: it is none of the messages.
    """
    try:
        return _MESSAGES.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        parts = [str(each) for each in first["loc"] if str(each) not in _TYPES]
        field = ".".join(parts)
        detail = f"{field}: {first['msg']}" if field else first["msg"]
        raise ProblemError(Problem(400, "BAD_MESSAGE", detail, field)) from error


_TYPES = frozenset({"subscribe", "unsubscribe", "ping"})


def subscribed(subject: Subject, after: int) -> str:
    """Return the message that events behind `after` follow."""
    return f'{{"type":"subscribed",{subject.member},"after":{after}}}'


def unsubscribed(subject: Subject) -> str:
    """Return the message that no more follows."""
    return f'{{"type":"unsubscribed",{subject.member}}}'


def event(subject: Subject, number: int, name: str, data: str) -> str:
    """Return the message of one event; `data` is JSON."""
    return (
        f'{{"type":"event",{subject.member},"id":{number},"event":{_encode(name)},"data":{data}}}'
    )


def error(problem: Problem, subject: Subject | None = None) -> str:
    """Return the message that something cannot be; without a subject, the whole socket."""
    about = f"{subject.member}," if subject else ""
    return f'{{"type":"error",{about}"problem":{_encode(problem.members())}}}'


def encoded(members: dict[str, Any]) -> str:
    """Return an object as JSON."""
    return _encode(members)
