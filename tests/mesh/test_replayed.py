"""Accounts that a running mesh has left in its trace store, and what they say of what if."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from cli.simulate.replay import TODAY, WHAT_IF, changes_of, recorded_s, replayed
from cli.simulate.running import Result, simulate
from cli.simulating import accounts_of
from libs.clients.traces import TracesClient
from libs.values import Account, CacheControl, Question
from tests.support.corpus import TENANT, other
from tests.support.mesh import ask
from tests.support.replicas import Replicas, running_replicas
from tests.support.waiting import until

QUESTIONS = 150
BUDGET_S = 2.0
# Stated beforehand. The test-bed takes hops that overlap one after the other, so its day is
# longer than the recorded one; the change is what counts.
TODAY_BAND = 0.5
SHIFT_S, SHIFT_BAND_S = 0.050, 0.010


@pytest.fixture
async def replicas(
    tmp_path: Path, model_dir: Path, no_blocking: BlockBuster
) -> AsyncIterator[Replicas]:
    """A mesh of processes, one of each."""
    async with running_replicas(tmp_path, model_dir, no_blocking) as running:
        yield running


async def recorded(traces: TracesClient) -> list[Account]:
    """Return the accounts of all that was asked, once they are there."""
    found: list[Account] = []

    async def are_there() -> bool:
        found[:] = await accounts_of(traces, QUESTIONS)
        return len(found) == QUESTIONS

    await until(are_there, within_s=20.0, every_s=0.2)
    return found


def side_by_side(accounts: list[Account], change: str) -> dict[str, Result]:
    cases = replayed(accounts, BUDGET_S, changes_of([change]), 4_000)
    return {each.way: each for each in simulate(cases, range(2), workers=1)}


def median_s(result: Result) -> float:
    return result.figures["p50_s"][0]


@pytest.mark.prove
async def test_what_a_mesh_has_recorded_tells_what_a_slower_search_would_mean(
    replicas: Replicas,
) -> None:
    async with replicas.answers() as answers, replicas.traces() as traces:
        for number in range(QUESTIONS):
            question = Question(TENANT, other(number), cache_control=CacheControl.BYPASS)
            await ask(answers, question)
        accounts = await recorded(traces)
    first_s = recorded_s(accounts)
    slower = await asyncio.to_thread(side_by_side, accounts, "retrieval=+50ms")
    same = await asyncio.to_thread(side_by_side, accounts, "retrieval=+0ms")
    told_s = first_s[len(first_s) // 2]
    today_s, later_s = median_s(slower[TODAY]), median_s(slower[WHAT_IF])
    print(f"recorded p50 {told_s:.4f} s, today {today_s:.4f} s, 50 ms slower {later_s:.4f} s")
    assert len(first_s) == QUESTIONS
    assert abs(today_s - told_s) <= TODAY_BAND * told_s
    assert abs(later_s - today_s - SHIFT_S) <= SHIFT_BAND_S
    # The control: without a change nothing changes.
    assert median_s(same[WHAT_IF]) == median_s(same[TODAY])
    assert slower[TODAY].figures["miss"][0] <= 0.01
