"""One answer in the making: its numbered events, and those who read them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress

from libs.errors import MeshError
from libs.values import SHOWN, AnswerEvent, Event


class Run:
    """The events of one answer, from the first to the last.

    Attributes:
        run_id: the run's name.
        tenant_id: whose run it is.
        scope: the access scope that it was asked in.
        resumable: True if it goes on when its readers leave.
        events: what has happened so far, numbered from 1.
        error: what the run failed with, if it has.
        done: True once nothing more will happen.
        stopped: True once somebody asked it to end.
        logged_count: events that are in the event log.
        encoded: events as bytes, by number, where a reader has needed them so already.
        task: what answers; cancelled when nobody wants the answer any more.
        gather_s: seconds for which events are gathered for the log; None leaves it to the log.
        on_deserted: called in place of that cancellation, by who knows of readers elsewhere.
    """

    def __init__(self, run_id: str, tenant_id: str, *, resumable: bool, scope: str = "") -> None:
        self.run_id = run_id
        self.tenant_id = tenant_id
        self.scope = scope
        self.resumable = resumable
        self.events: list[AnswerEvent] = []
        self.error: MeshError | None = None
        self.done = False
        self.stopped = False
        self.task: asyncio.Task[None] | None = None
        self.logged_count = 0
        self.encoded: dict[int, bytes] = {}
        self.gather_s: float | None = None
        self.on_deserted: Callable[[], None] | None = None
        self._reader_count = 0
        self._changed = asyncio.Event()
        self._over = asyncio.Event()

    def emit(self, *events: Event) -> None:
        """Append events; those of one call reach a reader together, and at once."""
        for event in events:
            self.note(event)
        self._notify()

    def note(self, event: Event) -> None:
        """Append an event that can wait: it goes along with the next that is emitted.

        A message of its own would cost more than a small stage does.
        """
        scope = "" if self.events else self.scope
        self.events.append(AnswerEvent(len(self.events) + 1, event, scope))

    def extend(self, events: Sequence[AnswerEvent]) -> None:
        """Append events of this run that were numbered elsewhere."""
        self.events.extend(events)
        self._notify()

    @property
    def has_text(self) -> bool:
        """True once there is text."""
        return any(isinstance(each.event, SHOWN) for each in self.events)

    @property
    def is_deserted(self) -> bool:
        """True if nobody here wants the answer any more."""
        return not (self._reader_count or self.done or self.resumable)

    def finish(self, error: MeshError | None = None) -> None:
        """Note that nothing more will happen."""
        self.error = error
        self.done = True
        self._over.set()
        self._notify()

    def stop(self) -> None:
        """End the run: its task is cancelled, and completes it as stopped."""
        self.stopped = True
        if self.task is not None:
            self.task.cancel()

    async def read(
        self, after: int = 0, *, passive: bool = False
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        """Yield events above `after` as they come, those that are ready together at once.

        The last reader to leave cancels a run that is not resumable; passive ones do not count.

        Raises:
            MeshError: what the run failed with.
        """
        self._reader_count += not passive
        try:
            while True:
                changed = self._changed
                ready = self.events[after:]
                if self.error is not None:
                    # The last event of a failed run is for the log alone.
                    raise self.error
                if ready:
                    after += len(ready)
                    yield ready
                elif self.done:
                    break
                else:
                    await changed.wait()
        finally:
            self._reader_count -= not passive
            if self.is_deserted and not passive:
                self._desert()

    async def unlogged(self, gather_s: float) -> AsyncIterator[None]:
        """Yield whenever there are events that are not logged; ends when all are."""
        while True:
            # Before anything else, and also at the end: the caller goes first, and a short
            # run is logged in one piece.
            await self._gather(gather_s if self.gather_s is None else self.gather_s, gather_s)
            changed = self._changed
            if self.logged_count < len(self.events):
                yield
            elif self.done:
                break
            else:
                await changed.wait()

    async def _gather(self, wait_s: float, usual_s: float) -> None:
        """Let events gather for so long; what is longer than usual ends with the run."""
        await asyncio.sleep(min(wait_s, usual_s))
        if wait_s > usual_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s - usual_s):
                    await self._over.wait()

    def _desert(self) -> None:
        if self.on_deserted is not None:
            self.on_deserted()
        elif self.task is not None:
            self.task.cancel()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def numbered(*events: Event) -> tuple[AnswerEvent, ...]:
    """Return events numbered from 1."""
    return tuple(AnswerEvent(number, event) for number, event in enumerate(events, 1))
