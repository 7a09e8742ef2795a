"""Where hits are judged, off the path of requests, and what comes of it is shared."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from libs.errors import DependencyUnavailableError
from libs.telemetry import metrics
from services.cache.entry import DamagedRecordError
from services.cache.store import EntryStore
from services.cache.trust.agreement import Reading, agree
from services.cache.trust.book import Book, Note
from services.cache.trust.judge import Case, Judge
from services.cache.trust.looks import Hit, Look, Source
from services.cache.trust.trust import Trust

_PERIOD_S = 0.25
# A verdict waits until the note of its hit is there, which another replica may have made.
_NOTE_LEAD_S = 1.0
# What is under way; beyond it the oldest is dropped, of what a judge is shown the newest.
_MOST_WAITING = 4096
_MOST_SHOWN = 64
_JUDGES = 2
_LOG = logging.getLogger(__name__)
Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class _Reported:
    """Somebody said whether the answer that served them was right."""

    tenant_id: str
    entry_id: str
    wrong: bool
    due_s: float


@dataclass(frozen=True, slots=True)
class _Written:
    """A question was answered anew."""

    tenant_id: str
    key: str
    pages: tuple[bytes, ...]
    due_s: float


@dataclass(frozen=True, slots=True)
class _Shown:
    hit: Hit
    case: Case
    pages: tuple[bytes, ...]


class Desk:
    """Takes in hits and verdicts without waiting; `follow` works through them.

    While Redis does not answer, verdicts are lost and targets stay as they are.
    """

    def __init__(
        self,
        trust: Trust,
        book: Book,
        store: EntryStore,
        reading: Reading,
        judge: Judge | None = None,
        *,
        clock: Callable[[], float] = time.time,
        note_lead_s: float = _NOTE_LEAD_S,
    ) -> None:
        """Work with these.

        Args:
            trust: what looks move.
            book: what replicas share.
            store: the answers; with time for long reads.
            reading: reads an answer out of its pages.
            judge: who is shown hits; None has nobody look at them.
            clock: seconds of the wall clock.
            note_lead_s: how long a verdict waits for the note of its hit.
        """
        self._trust = trust
        self._book = book
        self._store = store
        self._reading = reading
        self._judge = judge
        self._clock = clock
        self._note_lead_s = note_lead_s
        self._notes: deque[Note] = deque(maxlen=_MOST_WAITING)
        self._looks: deque[Look] = deque(maxlen=_MOST_WAITING)
        self._verdicts: deque[_Reported | _Written] = deque(maxlen=_MOST_WAITING)
        self._shown: asyncio.Queue[_Shown] = asyncio.Queue(_MOST_SHOWN)

    @property
    def has_judge(self) -> bool:
        """True if somebody looks at the hits that are shown."""
        return self._judge is not None

    def note(self, note: Note) -> None:
        """Remember a hit for as long as there may be a verdict on it."""
        self._notes.append(note)

    def found(self, look: Look) -> None:
        """Take a look that was made elsewhere."""
        self._looks.append(look)

    def show(self, hit: Hit, case: Case, pages: tuple[bytes, ...]) -> None:
        """Have a hit judged, unless the judge has too much to do."""
        if not self._shown.full():
            self._shown.put_nowait(_Shown(hit, case, pages))

    def reported(self, tenant_id: str, entry_id: str, *, wrong: bool) -> None:
        """Take the word of somebody who was served by an answer to another question."""
        due_s = self._clock() + self._note_lead_s
        self._verdicts.append(_Reported(tenant_id, entry_id, wrong, due_s))

    def written(self, tenant_id: str, key: str, pages: tuple[bytes, ...]) -> None:
        """Take the answer that was written for the question of an exact key."""
        self._verdicts.append(_Written(tenant_id, key, pages, self._clock() + self._note_lead_s))

    async def follow(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_step())
            for _ in range(_JUDGES if self._judge is not None else 0):
                group.create_task(self._judge_on())

    async def step(self) -> None:
        """Share what was seen, settle the verdicts that are due, and read the others' looks.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        if notes := _drained(self._notes):
            await self._book.note(notes)
        while self._verdicts and self._verdicts[0].due_s <= self._clock():
            await self._settle(self._verdicts.popleft())
        if looks := _drained(self._looks):
            await self._book.write(looks)
            for look in looks:
                metrics.count_look(look.source, wrong=look.wrong)
        await self.catch_up()

    async def catch_up(self) -> None:
        """Take in the looks of every replica, this one's among them, in one order.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        async for page in self._book.read():
            self._trust.take_all(page)
            # A page takes some milliseconds; requests go first.
            await asyncio.sleep(0)

    async def judge_next(self) -> None:
        """Have the next hit judged that is shown; wait for one if there is none."""
        shown = await self._shown.get()
        if self._judge is None:
            return
        case = replace(shown.case, answer=self._reading(shown.pages).text)
        serves = await self._judge.serves(case)
        if serves is not None:
            self._look(shown.hit, Source.JUDGE, wrong=not serves)

    async def _keep_step(self) -> None:
        while True:
            try:
                await self.step()
            except DependencyUnavailableError:
                _LOG.debug("trust stands still: Redis does not answer")
            except Exception:  # noqa: BLE001 - the outer edge: trust must go on moving
                _LOG.exception("a step of the desk failed")
            await asyncio.sleep(_PERIOD_S)

    async def _judge_on(self) -> None:
        while True:
            try:
                await self.judge_next()
            except Exception:  # noqa: BLE001 - the outer edge: the next hit is judged all the same
                _LOG.exception("a hit was not judged")

    async def _settle(self, verdict: _Reported | _Written) -> None:
        if isinstance(verdict, _Reported):
            note = await self._book.take_served(verdict.tenant_id, verdict.entry_id)
            if note is not None:
                self._look(note.hit, Source.REPORT, wrong=verdict.wrong)
            return
        note = await self._book.take_asked(verdict.tenant_id, verdict.key)
        agreed = None if note is None else await self._agreement(note, verdict)
        if note is not None and agreed is not None:
            self._look(note.hit, Source.AGREEMENT, wrong=not agreed)

    async def _agreement(self, note: Note, written: _Written) -> bool | None:
        """Return whether what served says the same as what was written since."""
        try:
            entry = await self._store.get(written.tenant_id, note.key)
        except DamagedRecordError:
            return None
        if entry is None or entry.entry_id != note.entry_id:
            return None
        return agree(self._reading(entry.pages), self._reading(written.pages))

    def _look(self, hit: Hit, source: Source, *, wrong: bool) -> None:
        self._looks.append(Look(hit, wrong, source, self._clock()))


def _drained(things: deque[Thing]) -> list[Thing]:
    taken = list(things)
    things.clear()
    return taken
