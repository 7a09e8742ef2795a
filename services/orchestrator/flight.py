"""One run's part in a flight: it leads without noticing, or follows and tells what it hears."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from libs.budget import Budget
from libs.errors import EventLogUnavailableError, MeshError
from libs.telemetry.metrics import count_flight
from libs.values import (
    SHOWN,
    AnswerEvent,
    AnswerState,
    CacheControl,
    Citation,
    CitationPlacement,
    Completed,
    FinishReason,
    Question,
    Revised,
    Sources,
)
from libs.values.cache import AskedQuestion
from libs.values.keys import question_key
from services.orchestrator.deferring import DEFERRED
from services.orchestrator.flights import (
    FOLLOWER_GATHER_S,
    Boarded,
    Flight,
    Flights,
    Part,
    Passenger,
)
from services.orchestrator.hops import CALLERS_FAULT, TIMED_OUT, outcome_of
from services.orchestrator.ledger import HopRecord
from services.orchestrator.report import Refused, Report
from services.orchestrator.run import Run
from services.orchestrator.writing import Written

FLIGHT = "flight"
LEADER_LOST = "LEADER_LOST"
# Each lost leader costs time; after so many a run does without.
_MOST_LEADERS = 3
# Those who must have an answer of their own, or none at all, neither lead nor follow.
_SHARING = (CacheControl.DEFAULT, CacheControl.NO_STORE)
# Ends of a leader that need not end who has more time, or asks for less.
_OWN_ENDS = (FinishReason.STOPPED, FinishReason.BUDGET, FinishReason.INTERRUPTED)
_OWN_REFUSALS = ("BELOW_MINIMUM", "STOPPED")
_PASSED_ON = (Sources, *SHOWN, Citation, Revised)


class Following:
    """Boards flights for one run, and follows their leaders."""

    def __init__(
        self,
        flights: Flights | None,
        question: Question,
        asked: AskedQuestion,
        report: Report,
        *,
        defers: bool = False,
    ) -> None:
        """Board nothing yet.

        Args:
            flights: those of this replica; None lets the run go alone.
            question: what is asked, and how it is to be answered.
            asked: what names the answer in the cache.
            report: what tells the caller.
            defers: True if the question may become a job.
        """
        self._flights = flights if question.cache_control in _SHARING else None
        self._question = question
        self._asked = asked
        self._report = report
        self._defers = defers
        self._leaders_left = _MOST_LEADERS
        self._has_shown = False
        self._ended = ""

    @property
    def wait_s(self) -> float | None:
        """Seconds for which boarding is waited for, at most; None if the run goes alone."""
        return self._flights.wait_s if self._flights and self._leaders_left else None

    @property
    def is_known_here(self) -> bool:
        """True if this replica takes part in a flight of the same question."""
        return self._flights is not None and self._flights.knows(self._name)

    async def board(self, passenger: Passenger, record: HopRecord) -> Boarded:
        """Follow or lead whoever asks the same; see `Flights.board`."""
        if self._flights is None:
            return Boarded(Part.ALONE, "OFF")
        passenger = replace(passenger, ended=self._ended)
        boarded = await self._flights.board(self._name, passenger)
        if boarded.part is not Part.FOLLOWS:
            record.end(boarded.reason or "lead")
        if boarded.part is Part.LEADS and self._leaders_left < _MOST_LEADERS:
            count_flight("taken_over", "")
        return boarded

    async def follow(
        self, flight: Flight, run: Run, record: HopRecord, budget: Budget, give_up_s: float
    ) -> bool:
        """Tell what the leader tells, to the end; return False if the run must go on without.

        What was shown of a leader that is lost is withdrawn: no text is ever of two runs.

        Args:
            flight: what was boarded.
            run: the follower.
            record: notes the wait.
            budget: the follower's time, less what sending takes.
            give_up_s: seconds after which a leader without text is given up.

        Raises:
            Refused: the leader's answer is of no use here.
            MeshError: what the leader failed with, where it is the caller's fault.
        """
        self._leaders_left -= 1
        run.gather_s = FOLLOWER_GATHER_S
        if flight.offer is not None:
            self._report.quality = flight.offer.quality
        record.granted_s = budget.remaining_s()
        completed: Completed | None = None
        try:
            with self._report.ledger.waiting(record):
                completed = await self._read(flight, budget, give_up_s)
            record.end("ok")
        except TimeoutError:
            record.end(TIMED_OUT)
            return self._time_is_up(flight)
        except CALLERS_FAULT:
            raise
        except MeshError as error:
            lost = isinstance(error, EventLogUnavailableError)
            record.end(LEADER_LOST if lost else outcome_of(error))
        finally:
            record.end("cancelled")
        if completed is None or self._must_go_on(completed, budget):
            self._ended = "" if completed is None else flight.run_id
            self._withdraw(LEADER_LOST)
            return False
        self._end(flight, completed)
        return True

    async def _read(self, flight: Flight, budget: Budget, give_up_s: float) -> Completed | None:
        assert self._flights is not None  # noqa: S101 - there was a flight to board
        source = self._flights.follow(flight)
        loop = asyncio.get_running_loop()
        end_at = loop.time() + budget.remaining_s()
        async with asyncio.timeout(give_up_s) as clock, aclosing(source.read()) as batches:
            async for batch in batches:
                completed = self._pass_on(batch)
                if completed is not None:
                    return completed
                if self._has_shown and clock.when() != end_at:
                    clock.reschedule(end_at)
        return None

    def _pass_on(self, batch: Sequence[AnswerEvent]) -> Completed | None:
        events = [each.event for each in batch if isinstance(each.event, _PASSED_ON)]
        for event in events:
            if isinstance(event, (*SHOWN, Revised)):
                self._has_shown = not isinstance(event, Revised)
        self._report.pass_on(events)
        last = batch[-1].event
        return last if isinstance(last, Completed) else None

    def _must_go_on(self, completed: Completed, budget: Budget) -> bool:
        """Return whether the leader ended for a reason that is not this run's."""
        if self._leaders_left == 0 or budget.remaining_s() <= 0:
            return False
        if completed.answer_state is AnswerState.DEFERRED:
            return not self._defers
        if completed.answer_state is AnswerState.REFUSED:
            return any(each.reason in _OWN_REFUSALS for each in completed.degradations) or (
                completed.finish_reason is FinishReason.STOPPED
            )
        return completed.finish_reason in _OWN_ENDS

    def _end(self, flight: Flight, completed: Completed) -> None:
        """End as the leader did, unless that is less than what is of use here."""
        reason = self._unfit(completed)
        if reason:
            self._withdraw(reason)
            raise Refused(reason)
        self._report.share(completed, flight.run_id)

    def _unfit(self, completed: Completed) -> str:
        """Return why a leader's end is not this run's; empty if it is."""
        if completed.answer_state is AnswerState.DEFERRED:
            return "" if self._defers else "NOT_WRITTEN"
        if completed.answer_state is AnswerState.REFUSED:
            reasons = (each.reason for each in completed.degradations if each.hop == "answer")
            return next((each for each in reasons if self._defers and each in DEFERRED), "")
        return "BELOW_MINIMUM" if completed.quality < self._question.minimum_quality else ""

    def _time_is_up(self, flight: Flight) -> bool:
        """End with what there is; without any text, go alone from here on."""
        if not self._has_shown:
            self._leaders_left = 0
            return False
        self._report.complete(
            Written(finish_reason=FinishReason.BUDGET), AnswerState.PARTIAL, flight.run_id
        )
        return True

    def _withdraw(self, reason: str) -> None:
        if self._has_shown:
            self._has_shown = False
            self._report.revise(Revised(reason))

    @functools.cached_property
    def _name(self) -> str:
        """Return what only runs share that would tell their callers the very same."""
        question = self._question
        key = question_key(question.tenant_id, self._asked).exact
        told = f"{question.render:d}{question.cache_control:d}"
        if question.citation_placement is CitationPlacement.AFTER:
            told += "after"
        return f"{question.tenant_id}/{key}/{told}"
