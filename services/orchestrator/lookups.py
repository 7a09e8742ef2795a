"""The lookups of one run, which go on beside whatever else it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from libs.errors import MeshError
from services.orchestrator.flights import Boarded, Flight
from services.orchestrator.hops import Calling, Found
from services.orchestrator.ledger import HopRecord, Ledger

Result = TypeVar("Result")


class StoredAnswerFound(Exception):  # noqa: N818 - no error: it ends the search for an answer
    """A lookup hit while the run was after something else."""

    def __init__(self, found: Found) -> None:
        super().__init__(found.decision.entry_id)
        self.found = found


class LeaderFound(Exception):  # noqa: N818 - no error: it ends the search for an answer
    """The same question is in flight already."""

    def __init__(self, flight: Flight, record: HopRecord) -> None:
        super().__init__(flight.run_id)
        self.flight = flight
        self.record = record


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
        self._under_way: list[Calling[Found] | Calling[Boarded]] = []

    def add(self, calling: Calling[Found] | Calling[Boarded]) -> None:
        """Watch one more lookup."""
        self._under_way.append(calling)

    def forget(self) -> None:
        """Watch none any more; what they would find is not wanted."""
        self._under_way.clear()

    async def head_start(self, calling: Calling[Found] | Calling[Boarded], seconds: float) -> None:
        """Watch one more lookup, and let it go alone for a while."""
        self.add(calling)
        with self._ledger.waiting(calling.record):
            await asyncio.wait({calling.task}, timeout=seconds)

    async def wait(self) -> None:
        """Wait for every lookup under way, and leave it to others what came of them."""
        if self._under_way:
            since_s = self._clock()
            await asyncio.wait([calling.task for calling in self._under_way])
            self._ledger.waited(since_s, self._under_way[-1].record)

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
            LeaderFound: the same question is in flight.
            MeshError: the hop failed.
        """
        while not calling.task.done():
            waited_for: list[Calling[Any]] = [calling, *self._under_way]
            await self._wait(waited_for)
        return calling.task.result()

    def has_hit(self) -> bool:
        """Return whether a stored answer was found already."""
        tasks = [each.task for each in self._under_way if each.task.done()]
        results = [task.result() for task in tasks if not task.exception()]
        return any(isinstance(found, Found) and found.decision.hit for found in results)

    def check(self) -> None:
        """Drop the lookups that missed or failed.

        Raises:
            StoredAnswerFound: one of them hit.
            LeaderFound: the same question is in flight.
        """
        for calling in [each for each in self._under_way if each.task.done()]:
            self._under_way.remove(calling)
            error = calling.task.exception()
            if error is not None and not isinstance(error, MeshError):
                raise error
            if error is None:
                _raise_if_found(calling.task.result(), calling.record)
            self._missed(calling.record)

    async def _wait(self, calls: Sequence[Calling[Any]]) -> None:
        since_s = self._clock()
        tasks = [calling.task for calling in calls]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done = [calling.record for calling in calls if calling.task.done()]
        self._ledger.waited(since_s, max(done, key=lambda record: record.ended_s or 0.0))
        self.check()


def _raise_if_found(result: Found | Boarded, record: HopRecord) -> None:
    if isinstance(result, Boarded):
        if result.flight is not None:
            raise LeaderFound(result.flight, record)
    elif result.decision.hit:
        raise StoredAnswerFound(result)
