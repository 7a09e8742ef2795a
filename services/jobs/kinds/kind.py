"""What a kind of job is: an input, and an attempt at what is to be done with it."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from libs.values import Usage
from services.jobs.kinds.clients import Clients


class JobInput(BaseModel):
    """What a job is given: nothing is converted, and what is not known is refused.

    It comes as JSON and is read by `model_validate_json`, which takes an array for a tuple
    and a name for an enumeration; plain `model_validate` does not.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Input = TypeVar("Input", bound=JobInput)
MOST_KEY_CHARACTERS = 256
"""Characters that the key of an item has at most."""

_DIGEST_CHARACTERS = 32


@dataclass(slots=True)
class Meter:
    """Tokens that models have read and written for one attempt so far."""

    usage: Usage = field(default_factory=Usage)

    def add(self, usage: Usage) -> None:
        """Count what one more text took."""
        self.usage += usage


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt at one job; attempts count from 1."""

    tenant_id: str
    job_id: str
    attempt: int
    scope: str = ""
    meter: Meter = field(default_factory=Meter, compare=False)


class Teller(Protocol):
    """Where an attempt tells of what it does; what is told outlives the attempt."""

    async def progress(self, done: int, total: int, stage: str, message: str = "") -> None:
        """Tell that `done` of `total` steps are done; what is less than before is not told."""

    async def item(self, key: str, value: Mapping[str, Any]) -> None:
        """Deliver one partial result, which is kept once for each key."""

    @property
    def items(self) -> Mapping[str, Mapping[str, Any]]:
        """What was delivered so far, by this attempt and by earlier ones."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[Input]):
    """A kind of job.

    Attributes:
        name: what callers say.
        input: what it is given; every limit is in the model.
        run: makes one attempt and returns the result, which JSON can hold. Cancelling it
            cancels every call that it has under way. A `MeshError` that it raises says
            whether another attempt is of use.
    """

    name: str
    input: type[Input]
    run: Callable[[Task, Input, Teller, Clients], Awaitable[Mapping[str, Any]]]


class _Items(Mapping[str, Mapping[str, Any]]):
    """Items by their keys, however long these are."""

    def __init__(self, items: Mapping[str, Mapping[str, Any]]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        return self._items[short_key(key)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, key: str, value: Mapping[str, Any]) -> None:
        self._items[short_key(key)] = value


class Ledger:
    """A teller that remembers what is delivered through it, and delivers nothing twice.

    Keys may be names of any length: one that is longer than items may have is told shortened.
    """

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._items = _Items(teller.items)

    async def progress(self, done: int, total: int, stage: str, message: str = "") -> None:
        """Tell how far the attempt is."""
        await self._teller.progress(done, total, stage, message)

    async def item(self, key: str, value: Mapping[str, Any]) -> None:
        """Deliver one partial result, unless it was."""
        if key not in self._items:
            await self._teller.item(short_key(key), value)
            self._items.add(key, value)

    @property
    def items(self) -> Mapping[str, Mapping[str, Any]]:
        """What was delivered so far, by this attempt and by earlier ones."""
        return self._items


def short_key(key: str) -> str:
    """Return a key as items have it: one that is too long ends with a digest of itself."""
    if len(key) <= MOST_KEY_CHARACTERS:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{key[: MOST_KEY_CHARACTERS - _DIGEST_CHARACTERS - 1]}~{digest}"


def kind_of(
    name: str,
    given: type[Input],
    run: Callable[[Task, Input, Teller, Clients], Awaitable[Mapping[str, Any]]],
) -> Kind[Input]:
    """Return a kind whose attempts remember what they deliver, and deliver nothing twice."""

    async def attempt(
        task: Task, read: Input, teller: Teller, clients: Clients
    ) -> Mapping[str, Any]:
        return await run(task, read, Ledger(teller), clients)

    return Kind(name, given, attempt)
