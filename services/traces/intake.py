"""The way in: a bounded queue of spans before the one writer of the store."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from libs.errors import DependencyUnavailableError, OverloadedError
from libs.values.traces import Span
from services.traces.store import SpanStore

_LOG = logging.getLogger(__name__)
# A transaction of this many spans takes some 100 ms, which bounds the wait for the next one.
_TRANSACTION_SPANS = 2048
_RETRY_AFTER_S = 1.0

_Batch = tuple[Sequence[Span], "asyncio.Future[None]"]


class Intake:
    """Spans on their way to the store; what was put is stored when `put` returns.

    Args:
        store: where the spans go.
        capacity_spans: how many may wait.
        clock: seconds of the Unix epoch.
    """

    def __init__(
        self, store: SpanStore, *, capacity_spans: int, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._capacity = capacity_spans
        self._clock = clock
        self._waiting: deque[_Batch] = deque()
        self._waiting_spans = 0
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def put(self, spans: Sequence[Span]) -> int:
        """Store spans, together with those of others that wait.

        Returns:
            How many were stored: all, unless they alone are more than may ever wait.

        Raises:
            OverloadedError: too many wait already. None was taken, so all may be sent again.
            DependencyUnavailableError: the store cannot be written now.
        """
        taken = spans[: self._capacity]
        if not taken:
            return 0
        if self._waiting_spans + len(taken) > self._capacity:
            raise OverloadedError(
                f"{self._waiting_spans} spans wait to be stored, at most {self._capacity} may",
                retry_after_s=_RETRY_AFTER_S,
            )
        stored = asyncio.get_running_loop().create_future()
        self._waiting.append((taken, stored))
        self._waiting_spans += len(taken)
        self._idle.clear()
        self._arrived.set()
        await stored
        return len(taken)

    async def run(self) -> None:
        """Write what waits, for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._write(self._next_transaction())
            self._idle.set()

    async def drain(self) -> None:
        """Return when nothing waits any more."""
        await self._idle.wait()

    def _next_transaction(self) -> list[_Batch]:
        batches = [self._waiting.popleft()]
        count = len(batches[0][0])
        while self._waiting and count + len(self._waiting[0][0]) <= _TRANSACTION_SPANS:
            batches.append(self._waiting.popleft())
            count += len(batches[-1][0])
        return batches

    async def _write(self, batches: list[_Batch]) -> None:
        spans = [span for batch, _ in batches for span in batch]
        try:
            await asyncio.to_thread(self._store.add, spans, self._clock())
        except Exception as error:  # noqa: BLE001 - the writer's outer edge: the next batch may do
            _LOG.exception("%d spans could not be stored", len(spans))
            _fail(batches, error)
        else:
            for _, stored in batches:
                if not stored.done():  # its caller may have left
                    stored.set_result(None)
        self._waiting_spans -= len(spans)


def _fail(batches: list[_Batch], cause: Exception) -> None:
    for _, stored in batches:
        if not stored.done():
            failure = DependencyUnavailableError("the span store cannot be written now")
            failure.__cause__ = cause
            stored.set_exception(failure)
