"""Virtual time: who waits costs nothing, and time passes when there is nothing left to do in it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Generator

Process = Generator["float | Parked", None, None]
"""Yields seconds to wait, or a place to be parked in until somebody wakes it."""


class Parked:
    """A place where one process waits to be woken."""

    __slots__ = ("process",)

    def __init__(self) -> None:
        self.process: Process | None = None


class Timeline:
    """A clock, and the processes that wait for it.

    Attributes:
        now_s: virtual seconds since the start.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, Process]] = []

    def clock(self) -> float:
        """Return the virtual time; what takes a clock takes this."""
        return self.now_s

    def start(self, at_s: float, process: Process) -> None:
        """Let a process begin at a time; those of one moment go in the order of their start."""
        heapq.heappush(self._waiting, (at_s, next(self._order), process))

    def wake(self, parked: Parked) -> None:
        """Let a parked process go on now; nobody may be there."""
        process, parked.process = parked.process, None
        if process is not None:
            self.start(self.now_s, process)

    def run(self) -> None:
        """Let time pass until nobody waits for it."""
        waiting = self._waiting
        while waiting:
            self.now_s, _, process = heapq.heappop(waiting)
            found = next(process, None)
            if isinstance(found, Parked):
                found.process = process
            elif found is not None:
                self.start(self.now_s + found, process)
