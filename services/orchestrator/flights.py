"""Single flight: the same question in flight twice is answered once, anywhere in the cluster.

Of each question in flight a replica knows one source: the run that leads it here, or a
mirror, which is filled from the event log of the run that leads it on another replica.
Followers read either in the same way, and each counts as a reader. Redis is asked once a
replica and question, not once a caller.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from libs.errors import EventLogUnavailableError, MeshError, RunNotFoundError
from libs.telemetry.metrics import count_flight
from libs.values import AnswerEvent, AnswerState, Completed
from services.orchestrator.leases import Held, Leases, Offer
from services.orchestrator.run import Run
from services.orchestrator.runlog import RunLog

_LOG = logging.getLogger(__name__)
# A lease is renewed so many times in its life: two renewals may be late.
_RENEWALS = 3
# So often in the life of a lease it is looked whether its leader lives.
_LOOKS = 6
# Added to what is left of a lease before it is looked at again: then it is gone for certain.
_EXPIRED_S = 0.002
# In so many steps it is waited for Redis; in each the loop hears what has come.
_STEPS = 10
# How long Redis is left alone once it did not answer.
_PAUSE_S = 0.25
# A run that is read elsewhere is logged at once.
_AT_ONCE_S = 0.0
# A follower's own log serves only those who watch it from another replica: no hurry.
FOLLOWER_GATHER_S = 0.08


class Part(Enum):
    """What part a run has in a flight."""

    LEADS = "led"
    FOLLOWS = "followed"
    ALONE = "alone"


@dataclass(frozen=True, slots=True)
class Boarded:
    """What became of boarding.

    Attributes:
        part: what the run does now.
        reason: why it goes alone.
        flight: what is to be followed, if anything.
    """

    part: Part
    reason: str = ""
    flight: Flight | None = None


@dataclass(frozen=True, slots=True)
class Passenger:
    """A run that would rather share an answer than make its own.

    Attributes:
        run: the run.
        offer: what it promises if it leads, as of now.
        needs: what it needs of a leader.
        promise: tells the seconds from now in which its first text is due, for later.
        ended: a leader that it has followed to an end that is not its own.
        missed_s: an answer that has landed this many seconds ago, or longer, is one that a
            lookup of this run has missed or refused: it is stored no more, or it is outdated.
    """

    run: Run
    offer: Offer
    needs: Offer
    promise: Callable[[], float]
    ended: str = ""
    missed_s: float = math.inf


class Flight:
    """One question in flight, as this replica knows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source: Run | None = None
        self.offer: Offer | None = None
        self.offered_at_s = 0.0
        self.claim: asyncio.Task[None] | None = None
        self.leader: Passenger | None = None
        self.mirroring = False
        self.is_leased = False
        self.landed_at_s = math.inf
        self._poked = asyncio.Event()

    @property
    def run_id(self) -> str:
        """The leading run's name."""
        return "" if self.source is None else self.source.run_id

    @property
    def is_over(self) -> bool:
        """True if its leader has ended, or is about to, with nothing that others share."""
        source = self.source
        if source is None or _is_shared(source, self.offer):
            return False
        return _has_ended(source) or _end_of(source.events) is not None

    @property
    def has_landed(self) -> bool:
        """True if its answer is whole, or broken off, already."""
        return self.source is not None and _end_of(self.source.events) is not None

    def is_past(self, missed_s: float, now_s: float) -> bool:
        """Return whether its answer landed `missed_s` ago or longer."""
        return self.has_landed and (missed_s <= 0 or now_s - self.landed_at_s >= missed_s)

    def begin(self, source: Run, offer: Offer, at_s: float) -> None:
        """Note whom to follow, and what was promised at `at_s`."""
        self.source, self.offer, self.offered_at_s = source, offer, at_s

    def poke(self) -> None:
        """Have whoever keeps this flight look at it at once."""
        self._poked.set()

    async def poked(self, within_s: float) -> None:
        """Wait until poked, or for so long."""
        waiting = asyncio.ensure_future(self._poked.wait())
        await asyncio.wait({waiting}, timeout=within_s)
        waiting.cancel()
        self._poked.clear()

    def refusal(self, needs: Offer, now_s: float) -> str:
        """Return why this flight is of no use to who needs that; empty if it is."""
        if self.source is None or self.offer is None:
            return "NO_LEADER"
        if self.offer.quality < needs.quality:
            return "LOWER_QUALITY"
        due_in_s = self.offered_at_s + self.offer.first_text_in_s - now_s
        if not self.source.has_text and due_in_s > needs.first_text_in_s:
            return "TOO_LATE"
        return ""


class Flights:
    """All flights that this replica takes part in."""

    def __init__(
        self,
        leases: Leases,
        log: RunLog,
        *,
        lease_s: float,
        wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without any.

        Args:
            leases: who leads, over the whole cluster.
            log: where runs of other replicas are read.
            lease_s: seconds that a lease lives.
            wait_s: seconds for which the lease is waited for, at most.
            clock: seconds that only go forward.
        """
        self._leases = leases
        self._log = log
        self._lease_s = lease_s
        self._wait_s = wait_s
        self._clock = clock
        self._here: dict[str, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._leave_alone_until_s = 0.0

    @property
    def wait_s(self) -> float:
        """Seconds for which boarding is waited for, at most."""
        return self._wait_s

    def knows(self, name: str) -> bool:
        """Return whether this replica takes part in a flight."""
        return name in self._here

    async def board(self, name: str, passenger: Passenger) -> Boarded:
        """Follow who is in flight already, or lead; go alone if neither can be.

        Args:
            name: what was asked, and by which tenant.
            passenger: who boards.
        """
        flight = self._here.get(name)
        if flight is None or flight.is_over or flight.is_past(passenger.missed_s, self._clock()):
            flight = self._here[name] = Flight(name)
            flight.claim = self._spawn(self._claim(flight, passenger))
        if flight.claim is not None and not flight.claim.done():
            await asyncio.wait({flight.claim})
        return self._part_in(flight, passenger)

    def follow(self, flight: Flight) -> Run:
        """Return the run to read at once, after `board` said so."""
        source = flight.source
        if source is None:
            raise EventLogUnavailableError("the flight has no leader")
        if flight.leader is None and not flight.mirroring:
            flight.mirroring = True
            source.task = self._spawn(self._mirror(flight, source))
        return source

    async def listen(self) -> None:
        """Hear of readers on other replicas, until cancelled."""
        await self._leases.listen(self._heard)

    async def close(self) -> None:
        """Give up what is left: its followers elsewhere lead anew at once."""
        for task in list(self._tasks):
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lease_s):
                # Those that are cancelled have something to tell Redis, in tasks of their own.
                while self._tasks:
                    await asyncio.wait(self._tasks)

    def _part_in(self, flight: Flight, passenger: Passenger) -> Boarded:
        if flight.source is passenger.run:
            return Boarded(Part.LEADS)
        refusal = flight.refusal(passenger.needs, self._clock())
        if refusal:
            self._drop_unused(flight)
            return self._alone(refusal)
        count_flight(Part.FOLLOWS.value, "")
        return Boarded(Part.FOLLOWS, flight=flight)

    def _alone(self, reason: str) -> Boarded:
        count_flight(Part.ALONE.value, reason)
        return Boarded(Part.ALONE, reason)

    def _leave_redis_alone(self) -> None:
        self._leave_alone_until_s = self._clock() + _PAUSE_S

    async def _claim(self, flight: Flight, passenger: Passenger) -> None:
        """Find out who leads; without Redis a run leads on its own replica alone."""
        asking = asyncio.create_task(self._ask(flight.name, passenger))
        # In steps: a loop that is busy itself must not take Redis for slow.
        for _ in range(_STEPS):
            if not asking.done():
                await asyncio.wait({asking}, timeout=self._wait_s / _STEPS)
        held = None
        if asking.done():
            held, flight.is_leased = asking.result()
        else:
            self._leave_redis_alone()
            asking.add_done_callback(lambda task: self._heard_late(flight, task))
        if held is None:
            self._take_off(flight, passenger)
            return
        mirror = Run(held.run_id, passenger.run.tenant_id, resumable=False)
        flight.begin(mirror, held.offer, self._clock())
        # It may be that nobody here can use it.
        asyncio.get_running_loop().call_later(self._lease_s, self._drop_unused, flight)

    async def _ask(self, name: str, passenger: Passenger) -> tuple[Held | None, bool]:
        """Return who leads, if anybody else does, and whether this run has the lease."""
        if self._clock() < self._leave_alone_until_s:
            return None, False
        try:
            held = await self._leases.claim(
                name,
                passenger.run.run_id,
                passenger.offer,
                ended=passenger.ended,
                missed_s=passenger.missed_s,
            )
        except EventLogUnavailableError:
            self._leave_redis_alone()
            return None, False
        return held, held is None

    def _heard_late(self, flight: Flight, asking: asyncio.Task[tuple[Held | None, bool]]) -> None:
        """Take the lease that came after all; leave a leader that came too late."""
        if asking.cancelled():
            return
        held, flight.is_leased = asking.result()
        if held is not None:
            self._spawn(self._leave(flight.name, held.run_id))

    def _take_off(self, flight: Flight, passenger: Passenger) -> None:
        passenger.run.gather_s = None
        flight.begin(passenger.run, passenger.offer, self._clock())
        flight.leader = passenger
        count_flight(Part.LEADS.value, "" if flight.is_leased else "NO_LEASE")
        self._spawn(self._lead(flight, passenger))

    # -- leading -----------------------------------------------------------------------

    async def _lead(self, flight: Flight, passenger: Passenger) -> None:
        """Keep the lease while the run goes on and somebody, anywhere, wants it."""
        run = passenger.run
        run.on_deserted = flight.poke
        if run.task is not None:
            run.task.add_done_callback(lambda _: flight.poke())
        try:
            while not _has_ended(run):
                await flight.poked(self._lease_s / _RENEWALS)
                if _has_ended(run):
                    break
                is_wanted = flight.is_leased and await self._is_wanted_elsewhere(flight, passenger)
                if run.is_deserted and not is_wanted and run.task is not None:
                    run.task.cancel()
        finally:
            run.on_deserted = None
            if not run.done and run.task is not None:
                run.task.cancel()
            await self._land(flight)

    async def _is_wanted_elsewhere(self, flight: Flight, passenger: Passenger) -> bool:
        """Renew the lease, or end it if nobody reads; return whether other replicas do."""
        run = passenger.run
        try:
            if run.is_deserted and not await self._leases.release(flight.name, run.run_id):
                return False
            offer = Offer(passenger.offer.quality, passenger.promise())
            flight.begin(run, offer, self._clock())
            count = await self._leases.renew(flight.name, run.run_id, offer)
        except EventLogUnavailableError:
            return False
        if count > 0:
            run.gather_s = _AT_ONCE_S
        elif count < 0:
            # Another run leads now; this one is only for those who read it already.
            self._drop(flight)
        return count > 0

    async def _land(self, flight: Flight) -> None:
        """End a flight: whole answers stay until the lease expires, others are gone at once.

        Whoever missed in the cache just before the answer was stored finds it here.
        """
        source = flight.source
        flight.landed_at_s = self._clock()
        if source is not None and _is_shared(source, flight.offer):
            asyncio.get_running_loop().call_later(self._lease_s, self._drop, flight)
            await self._tell_landed(flight, self._leases.land(flight.name, source.run_id))
            return
        self._drop(flight)
        if source is not None:
            release = self._leases.release(flight.name, source.run_id, always=True)
            await self._tell_landed(flight, release)

    async def _tell_landed(
        self, flight: Flight, telling: Coroutine[object, object, object]
    ) -> None:
        if not flight.is_leased:
            telling.close()
            return
        try:
            await telling
        except EventLogUnavailableError:
            _LOG.debug("a lease is left to expire")

    def _heard(self, name: str) -> None:
        flight = self._here.get(name)
        if flight is not None and flight.source is not None:
            flight.source.gather_s = _AT_ONCE_S
            flight.poke()

    # -- following a run of another replica --------------------------------------------

    async def _mirror(self, flight: Flight, mirror: Run) -> None:
        """Fill a mirror until its end, or until the leader is lost, or nobody reads."""
        reading = asyncio.create_task(self._read(mirror))
        following = asyncio.create_task(self._follow(flight.name, mirror.run_id))
        error: MeshError | None = EventLogUnavailableError("the leader of the flight is lost")
        try:
            done, _ = await asyncio.wait({reading, following}, return_when=asyncio.FIRST_COMPLETED)
            is_whole = reading in done and reading.exception() is None
            if is_whole or await self._has_end(mirror):
                error = None
        finally:
            self._drop(flight)
            reading.cancel()
            following.cancel()
            mirror.finish(error)
            await asyncio.gather(reading, following, return_exceptions=True)
            self._spawn(self._leave(flight.name, mirror.run_id))

    async def _read(self, mirror: Run) -> None:
        while True:
            try:
                after = len(mirror.events)
                async for events in self._log.follow(mirror.tenant_id, mirror.run_id, after):
                    mirror.extend(events)
            except RunNotFoundError:
                # Its leader has not logged anything yet; whether it lives, its lease tells.
                continue
            return

    async def _follow(self, name: str, run_id: str) -> None:
        """Return once the leader is lost."""
        while True:
            left_s = await self._leases.follow(name, run_id)
            if left_s is None:
                return
            await asyncio.sleep(min(left_s + _EXPIRED_S, self._lease_s / _LOOKS))

    async def _has_end(self, mirror: Run) -> bool:
        """Take in what the log has beyond; return whether that is the end."""
        try:
            events = await self._log.events(mirror.tenant_id, mirror.run_id)
        except MeshError:
            return False
        mirror.extend(events[len(mirror.events) :])
        return _end_of(mirror.events) is not None

    async def _leave(self, name: str, run_id: str) -> None:
        try:
            await self._leases.leave(name, run_id)
        except EventLogUnavailableError:
            _LOG.debug("a reader is left to expire")

    def _drop_unused(self, flight: Flight) -> None:
        """Leave a flight that nobody here follows."""
        if flight.leader is None and not flight.mirroring and flight.source is not None:
            self._drop(flight)
            self._spawn(self._leave(flight.name, flight.source.run_id))

    # -- both --------------------------------------------------------------------------

    def _drop(self, flight: Flight) -> None:
        if self._here.get(flight.name) is flight:
            del self._here[flight.name]

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("a flight broke", exc_info=task.exception())


def _has_ended(run: Run) -> bool:
    return run.done or (run.task is not None and run.task.done())


def _end_of(events: list[AnswerEvent]) -> Completed | None:
    last = events[-1].event if events else None
    return last if isinstance(last, Completed) else None


def _is_shared(run: Run, offer: Offer | None) -> bool:
    """Return whether an answer is one to wait for: whole, and as good as was promised."""
    completed = _end_of(run.events)
    if completed is None or completed.answer_state is not AnswerState.COMPLETE:
        return False
    return offer is None or completed.quality >= offer.quality
