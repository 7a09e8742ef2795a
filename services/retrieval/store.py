"""The store of one process: one thread that writes, a few connections that read."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self, TypeVar

from libs.budget import Budget, current_budget
from services.retrieval.reader import Reader
from services.retrieval.schema import FILE_NAME, lock, open_reader, open_writer
from services.retrieval.writer import Writer

HOP = "retrieval"
Result = TypeVar("Result")


class Snapshot:
    """The store as it was at the first read, whatever is written since.

    Attributes:
        waited_s: seconds it waited for a connection to be free.
    """

    def __init__(self, connection: sqlite3.Connection, executor: Executor) -> None:
        self._connection = connection
        self._executor = executor
        self._reader = Reader(connection)
        self.waited_s = 0.0

    async def run(self, work: Callable[[Reader], Result]) -> Result:
        """Do `work` in a thread; a caller that is cancelled interrupts it and waits for its end.

        It must: the connection goes to the next caller afterwards.
        """
        loop = asyncio.get_running_loop()
        doing = loop.run_in_executor(self._executor, self._do, work)
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            while not doing.done():
                self._connection.interrupt()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({doing})
            if not doing.cancelled():
                doing.exception()  # Seen, so that nobody is told that it was not.
            raise

    def end(self) -> Future[None]:
        """Begin to let go of what is seen; the snapshot may be used again when that is done."""
        return self._executor.submit(self._reader.end)

    def _do(self, work: Callable[[Reader], Result]) -> Result:
        if not self._connection.in_transaction:
            self._reader.begin()
        return work(self._reader)


class Store:
    """The documents on disk; open one a process."""

    def __init__(
        self,
        writer: sqlite3.Connection,
        readers: list[sqlite3.Connection],
        lock_descriptor: int,
        *,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._lock = lock_descriptor
        self._connections = [writer, *readers]
        self._writer = Writer(writer, now=now)
        self._writing = ThreadPoolExecutor(1, "write")
        self._reading = ThreadPoolExecutor(len(readers), "read")
        self._clock = clock
        self._free: asyncio.Queue[Snapshot] = asyncio.Queue()
        for connection in readers:
            self._free.put_nowait(Snapshot(connection, self._reading))

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: Path,
        *,
        readers: int,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator[Self]:
        """Open the store in a directory, or make a new one, and close it at the end.

        Raises:
            ConfigError: it is another process's, another version's or no store.
        """
        parts = await asyncio.to_thread(_opened, directory, readers)
        store = cls(*parts, now=now, clock=clock)
        try:
            yield store
        finally:
            await asyncio.to_thread(store._close)

    async def write(self, work: Callable[[Writer], Result]) -> Result:
        """Do `work` in the writing thread, after all that was asked for before.

        If the caller is cancelled or its time ends, `work` is dropped as long as it has not
        begun; once it has, it is done to its end.

        Raises:
            BudgetExhaustedError: the time was over before it was its turn.
        """
        budget = current_budget()

        def write() -> Result:
            _check_time(budget)
            return work(self._writer)

        doing = self._writing.submit(write)
        try:
            return await asyncio.shield(asyncio.wrap_future(doing))
        except asyncio.CancelledError:
            doing.cancel()
            raise

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """Yield the store as it is now.

        Raises:
            BudgetExhaustedError: the time was over before a connection was free.
        """
        asked_s = self._clock()
        snapshot = await self._free.get()
        snapshot.waited_s = self._clock() - asked_s
        try:
            _check_time(current_budget())
            yield snapshot
        finally:
            loop = asyncio.get_running_loop()
            # Nobody waits for the end, which takes a thread's turn.
            snapshot.end().add_done_callback(
                lambda _: loop.call_soon_threadsafe(self._free.put_nowait, snapshot)
            )

    def _close(self) -> None:
        self._writing.shutdown()
        self._reading.shutdown()
        for connection in self._connections:
            connection.close()
        os.close(self._lock)


def _check_time(budget: Budget | None) -> None:
    if budget is not None:
        budget.require(0.0, HOP)


def _opened(
    directory: Path, readers: int
) -> tuple[sqlite3.Connection, list[sqlite3.Connection], int]:
    descriptor = lock(directory)
    path = directory / FILE_NAME
    try:
        return open_writer(path), [open_reader(path) for _ in range(readers)], descriptor
    except BaseException:
        os.close(descriptor)
        raise
