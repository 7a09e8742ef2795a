"""A run's events, each once, whichever replicas of the orchestrator come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing

import grpc

from libs.clients.answer import AnswerClient
from libs.errors import MeshError, RunNotFoundError, UnreachableError
from libs.values import AnswerEvent, Completed, Plan, Question, Reader, Revised

LOST = "RUN_INTERRUPTED"
"""Why what was told of a run is withdrawn: its replica died before it was written down."""

# While no replica knows more of a run, it is asked for again so long and so often.
_PATIENCE_S = 5.0
_FIRST_WAIT_S = 0.05
_MOST_WAIT_S = 1.0
# A run that somebody has seen is there, though it may not be written down yet.
_UNWRITTEN_S = 1.0
# What a reader has seen is in the log within some milliseconds.
_LOOK_EVERY_S = 1.0
# A run that says nothing for so long has told all that there is by now.
_STILL_S = 0.05
_SNAPSHOT_S = 0.5
_CALL_S = 10.0

Events = AsyncGenerator[AnswerEvent, None]


class Follower:
    """Reads runs.

    Args:
        client: all replicas of the orchestrator.
        clock: seconds that only go forward.
        passive: True keeps no run alive by reading it.
    """

    def __init__(
        self, client: AnswerClient, clock: Callable[[], float], *, passive: bool = False
    ) -> None:
        self._client = client
        self._clock = clock
        self._passive = passive

    async def ask(self, question: Question) -> Events:
        """Ask, and yield the events of the answer up to its last.

        A run that is resumable is followed on another replica if its own is lost.

        Raises:
            MeshError: the orchestrator refused, failed or broke off.
        """
        run_id, last = "", 0
        try:
            async with self._client.ask(question) as events:
                async for each in events:
                    last = each.sequence
                    if isinstance(each.event, Plan):
                        run_id = each.event.run_id
                    yield each
                    if isinstance(each.event, Completed):
                        return
            error: MeshError = UnreachableError("the answer ended without its last event")
        except MeshError as raised:
            error = raised
        if not (question.resumable and run_id and _is_loss(error)):
            raise error
        reader = Reader(question.tenant_id, frozenset({question.scope}))
        async with aclosing(self.follow(reader, run_id, last)) as rest:
            async for each in rest:
                yield each

    async def follow(self, reader: Reader, run_id: str, after: int = 0) -> Events:
        """Yield a run's events above `after` up to its last; none if that was its last.

        Whoever has seen more than was written down before the run's replica died gets a
        `Revised` of the number 0, and then all events that there are.

        Raises:
            RunNotFoundError: there is no such run that the reader may see, or it has expired.
            MeshError: no replica could be read for some seconds.
        """
        quiet_since_s, wait_s = self._clock(), _FIRST_WAIT_S
        while True:
            error: MeshError = UnreachableError("the run was cut off")
            try:
                async with aclosing(self._read(reader, run_id, after)) as events:
                    async for each in events:
                        is_new, after = each.sequence != after, each.sequence
                        quiet_since_s, wait_s = self._clock(), _FIRST_WAIT_S
                        if is_new:
                            yield each
                        if isinstance(each.event, Completed):
                            return
            except MeshError as raised:
                error = raised
            if self._clock() - quiet_since_s > _patience_s(error, after):
                raise error
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _MOST_WAIT_S)

    async def _read(self, reader: Reader, run_id: str, after: int) -> Events:
        """Yield the event `after`, if it is any, and what comes behind it.

        A reader that is level with the log would wait for what may never come; that the
        event which it has seen last is there shows at once that it is.
        """
        async with self._watch(reader, run_id, max(0, after - 1)) as events:
            first = await self._first(events, reader, run_id, after) if after else None
            if first is not None:
                yield first
            if first is not None or not after:
                async for each in events:
                    yield each
                return
        yield AnswerEvent(0, Revised(LOST))
        async with self._watch(reader, run_id) as events:
            async for each in events:
                yield each

    async def _first(
        self, events: AsyncIterator[AnswerEvent], reader: Reader, run_id: str, after: int
    ) -> AnswerEvent | None:
        """Return the event `after`; None if that is not in all that is left of the run.

        What a run ended with when its replica was lost has a number that nobody has seen.
        """
        reading = asyncio.create_task(_next(events))
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=_LOOK_EVERY_S)
                if not reading.done() and await self._ended_before(reader, run_id, after):
                    return None
            first = reading.result()
            return first if first.sequence == after else None
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _ended_before(self, reader: Reader, run_id: str, after: int) -> bool:
        seen = await self.snapshot(reader, run_id)
        return bool(seen) and isinstance(seen[-1].event, Completed) and seen[-1].sequence < after

    async def snapshot(self, reader: Reader, run_id: str) -> list[AnswerEvent]:
        """Return the events of a run that there are now.

        Raises:
            MeshError: as `follow`.
        """
        seen: list[AnswerEvent] = []

        async def read(events: AsyncIterator[AnswerEvent]) -> None:
            async for each in events:
                seen.append(each)  # noqa: PERF401 - what is there so far is looked at

        async with self._watch(reader, run_id, limit_s=_CALL_S) as events:
            reading = asyncio.create_task(read(events))
            try:
                await self._until_still(reading, seen)
                if reading.done():
                    reading.result()
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        return seen

    def _watch(
        self, reader: Reader, run_id: str, after: int = 0, limit_s: float | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[AnswerEvent]]:
        return self._client.watch(
            reader.tenant_id,
            run_id,
            after,
            scopes=reader.scopes,
            passive=self._passive,
            limit_s=limit_s,
        )

    async def _until_still(self, reading: asyncio.Task[None], seen: list[AnswerEvent]) -> None:
        end_s = self._clock() + _SNAPSHOT_S
        while not reading.done():
            count = len(seen)
            await asyncio.wait({reading}, timeout=_STILL_S)
            if seen and (len(seen) == count or self._clock() > end_s):
                return


async def _next(events: AsyncIterator[AnswerEvent]) -> AnswerEvent:
    async for each in events:
        return each
    raise UnreachableError("the run was cut off")


def _patience_s(error: MeshError, after: int) -> float:
    """Return for how long a run is asked for again that was seen up to an event."""
    if isinstance(error, RunNotFoundError) and after:
        return _UNWRITTEN_S
    return _PATIENCE_S if _is_loss(error) else -1.0


def _is_loss(error: MeshError) -> bool:
    """Return whether an error says nothing of the run, only of who was asked."""
    return error.code is grpc.StatusCode.UNAVAILABLE
