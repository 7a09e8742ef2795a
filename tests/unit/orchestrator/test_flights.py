"""Who follows whom, on a real Valkey."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable

import pytest

from libs.eventlog import EventLog
from libs.redislink import open_redis
from libs.values import Account, AnswerState, Completed, FinishReason, Quality, TextDelta
from services.orchestrator.flights import Boarded, Flights, Part, Passenger
from services.orchestrator.leases import Leases, Offer
from services.orchestrator.run import Run
from services.orchestrator.runlog import Codec, RunLog
from services.orchestrator.servicer import decode_event, encode_event
from tests.support.waiting import until

OFFER = Offer(Quality.FULL, 5.0)
NAME = "acme/why"
NOTHING = Account(0.0, 0.0, (), ())


@pytest.fixture
async def replica(redis_url: str) -> AsyncIterator[Callable[[], Flights]]:
    """Makes the flights of one more replica."""
    async with open_redis(redis_url, timeout_s=2) as redis:
        log = RunLog(EventLog(redis, kind="run", ttl_s=60), Codec(encode_event, decode_event))
        made: list[Flights] = []

        def make() -> Flights:
            made.append(Flights(Leases(redis, lease_s=5.0), log, lease_s=5.0, wait_s=5.0))
            return made[-1]

        yield make
        for flights in made:
            await flights.close()


def run_named(name: str) -> Run:
    """Return a run that goes on until it is cancelled."""
    run = Run(name, "acme", resumable=False)
    run.task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    return run


async def board(
    flights: Flights, run: Run, ended: str = "", *, missed_s: float = math.inf
) -> Boarded:
    passenger = Passenger(run, OFFER, OFFER, lambda: 5.0, ended, missed_s)
    return await flights.board(NAME, passenger)


def end(run: Run, state: AnswerState) -> None:
    """Show the last event; that the run is done comes a moment later."""
    is_whole = state is AnswerState.COMPLETE
    reason = FinishReason.END_TURN if is_whole else FinishReason.STOPPED
    run.emit(TextDelta("a text"), Completed(reason, state, Quality.FULL, NOTHING))


async def test_who_has_seen_a_leader_stop_leads_although_the_leader_has_not_landed(
    replica: Callable[[], Flights],
) -> None:
    here, elsewhere = replica(), replica()
    leader = run_named("r1")
    assert (await board(here, leader)).part is Part.LEADS
    assert (await board(here, run_named("r2"))).part is Part.FOLLOWS
    mirrored = await board(elsewhere, run_named("r3"))
    assert mirrored.flight is not None
    end(leader, AnswerState.PARTIAL)
    elsewhere.follow(mirrored.flight).extend(leader.events)
    assert (await board(here, run_named("r2"), ended="r1")).part is Part.LEADS
    following = await board(elsewhere, run_named("r3"), ended="r1")
    assert following.flight is not None
    assert following.flight.run_id == "r2"


async def test_an_answer_that_others_share_is_followed_after_its_end(
    replica: Callable[[], Flights],
) -> None:
    here = replica()
    leader = run_named("r1")
    await board(here, leader)
    end(leader, AnswerState.COMPLETE)
    assert (await board(here, run_named("r2"))).part is Part.FOLLOWS


async def test_who_knows_that_the_stored_answer_is_outdated_follows_none_that_has_landed(
    replica: Callable[[], Flights],
) -> None:
    """It was built from the same documents; what is still in the making may not be."""
    here, elsewhere = replica(), replica()
    leader = run_named("r1")
    await board(here, leader)
    assert (await board(here, run_named("r2"), missed_s=0.0)).part is Part.FOLLOWS
    end(leader, AnswerState.COMPLETE)
    leader.finish()
    assert leader.task is not None
    leader.task.cancel()

    async def has_landed() -> bool:
        return (await board(elsewhere, run_named("r3"), missed_s=0.0)).part is Part.LEADS

    await until(has_landed)
    assert (await board(here, run_named("r4"), missed_s=0.0)).flight is not None
    assert (await board(here, run_named("r5"))).part is Part.FOLLOWS


async def test_who_missed_an_answer_that_landed_before_does_not_follow_it(
    replica: Callable[[], Flights],
) -> None:
    """It was removed since, or is not kept; who looked before it landed still shares it."""
    here, elsewhere = replica(), replica()
    leader = run_named("r1")
    await board(here, leader)
    end(leader, AnswerState.COMPLETE)
    leader.finish()
    assert leader.task is not None
    leader.task.cancel()
    await asyncio.sleep(0.02)
    looked_before = await board(here, run_named("r2"), missed_s=10.0)
    assert looked_before.part is Part.FOLLOWS
    assert (await board(elsewhere, run_named("r3"), missed_s=10.0)).part is Part.FOLLOWS
    assert (await board(replica(), run_named("r4"), missed_s=0.01)).part is Part.LEADS
    looked_after = await board(here, run_named("r5"), missed_s=0.01)
    assert looked_after.flight is not None
    assert looked_after.flight.run_id == "r4"
