"""The lookups of one run, which go on beside whatever else it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from libs.errors import MeshError
from services.orchestrator.hops import Calling, Found
from services.orchestrator.ledger import HopRecord, Ledger

Result = TypeVar("Result")


class StoredAnswerFound(Exception):  # noqa: N818 - no error: it ends the search for an answer
    """A lookup hit while the run was after something else."""

    def __init__(self, found: Found) -> None:
        super().__init__(found.decision.entry_id)
        self.found = found


class Lookups:
    """Waits for hops and lookups together, and notes in the ledger which of them it was."""

    def __init__(
        self, ledger: Ledger, clock: Callable[[], float], missed: Callable[[HopRecord], None]
    ) -> None:
        """Start without any.

        Args:
            ledger: where waits are noted.
            clock: the ledger's.
            missed: told of each lookup that did not hit.
        """
        self._ledger = ledger
        self._clock = clock
        self._missed = missed
        self._under_way: list[Calling[Found]] = []

    def add(self, calling: Calling[Found]) -> None:
        """Watch one more lookup."""
        self._under_way.append(calling)

    async def head_start(self, calling: Calling[Found], seconds: float) -> None:
        """Watch one more lookup, and let it go alone for a while."""
        self.add(calling)
        with self._ledger.waiting(calling.record):
            await asyncio.wait({calling.task}, timeout=seconds)

    async def settle(self) -> None:
        """Wait for every lookup under way; each ends by its own limit.

        Raises:
            StoredAnswerFound: one of them hit.
        """
        while self._under_way:
            await self._wait(self._under_way)

    async def until(self, calling: Calling[Result]) -> Result:
        """Wait for a hop, and for lookups beside it.

        Raises:
            StoredAnswerFound: a lookup hit meanwhile.
            MeshError: the hop failed.
        """
        while not calling.task.done():
            waited_for: list[Calling[Any]] = [calling, *self._under_way]
            await self._wait(waited_for)
        return calling.task.result()

    def has_hit(self) -> bool:
        """Return whether one of them has hit already."""
        ended = [each.task for each in self._under_way if each.task.done()]
        return any(not task.exception() and task.result().decision.hit for task in ended)

    def check(self) -> None:
        """Drop the lookups that missed or failed.

        Raises:
            StoredAnswerFound: one of them hit.
        """
        for calling in [each for each in self._under_way if each.task.done()]:
            self._under_way.remove(calling)
            error = calling.task.exception()
            if error is not None and not isinstance(error, MeshError):
                raise error
            if error is None and calling.task.result().decision.hit:
                raise StoredAnswerFound(calling.task.result())
            self._missed(calling.record)

    async def _wait(self, calls: Sequence[Calling[Any]]) -> None:
        since_s = self._clock()
        tasks = [calling.task for calling in calls]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done = [calling.record for calling in calls if calling.task.done()]
        self._ledger.waited(since_s, max(done, key=lambda record: record.ended_s or 0.0))
        self.check()
