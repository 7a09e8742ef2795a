"""Whatever its hops do, an answer or an honest word comes in time, and none runs on."""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster
from grpc import aio

from libs.budget import spending
from libs.clients import Connection
from libs.clients.connection import Responses
from libs.errors import MeshError
from libs.values import Completed, Question, TextDelta
from tests.support.corpus import TENANT, other
from tests.support.mesh import Mesh, Setting, open_mesh
from tests.support.traffic import Delays, Stalls, Traffic
from tests.support.waiting import until

ORCHESTRATOR = "hasten.answer.v1"
# A hop that waits for its caller's deadline ends by being cancelled; how late that may be.
MOST_OUTLIVED_S = 0.050
WIDELY_S = 0.5
ENOUGH_S = 0.100
OF_QUESTIONS = ("/StreamAnswer", "/FindAnswer", "/EmbedTexts", "/SearchPassages", "/GenerateText")
IN_PARALLEL = 2
_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True)
class Outcome:
    """What became of one question.

    Attributes:
        budget_s: seconds until its first text was due.
        ending: `completed`, the reason of a typed refusal, or `bare`.
        first_s: seconds until the first text, or the refusal, was there.
        took_s: seconds until the end.
    """

    budget_s: float
    ending: str
    first_s: float
    took_s: float


def budgets(count: int, seed: int) -> Iterator[float]:
    """Yield budgets between 50 ms and 3 s, as many short ones as long ones."""
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    for _ in range(count):
        yield round(math.exp(draw.uniform(math.log(0.050), math.log(3.0))), 3)


async def ask_all(mesh: Mesh, count: int, seed: int, *, more_s: float) -> list[Outcome]:
    """Ask `count` questions, each due after its budget, each call `more_s` longer."""
    numbered = enumerate(budgets(count, seed))
    outcomes: list[Outcome] = []

    async def worker() -> None:
        for number, budget_s in numbered:
            outcomes.append(await ask_once(mesh, number, budget_s, budget_s + more_s))

    await asyncio.gather(*(worker() for _ in range(IN_PARALLEL)))
    return outcomes


async def ask_once(mesh: Mesh, number: int, budget_s: float, deadline_s: float) -> Outcome:
    question = Question(TENANT, other(number), first_text_by_s=budget_s)
    began_s = time.monotonic()
    first_s, ending = math.inf, "bare"
    try:
        async with mesh.answers.ask(question, limit_s=deadline_s) as events:
            async for each in events:
                if isinstance(each.event, TextDelta):
                    first_s = min(first_s, time.monotonic() - began_s)
                if isinstance(each.event, Completed):
                    ending = "completed"
    except MeshError as error:
        ending = error.reason if is_typed(error) else "bare"
        first_s = min(first_s, time.monotonic() - began_s)
    return Outcome(budget_s, ending, first_s, time.monotonic() - began_s)


def is_typed(error: MeshError) -> bool:
    """Return whether the server said why, not the transport that time was over."""
    cause = error.__cause__
    trailing = cause.trailing_metadata() if isinstance(cause, aio.AioRpcError) else ()
    return any(key == _DETAILS for key, _ in trailing or ())


def check_hops(traffic: Traffic, stalls: Stalls, most_s: float) -> tuple[float, float]:
    """Check the calls of questions; return the least time left at a start, the most outlived."""
    hops = [call for call in traffic.calls if call.method.endswith(OF_QUESTIONS)]
    assert len(hops) > 1
    assert all(call.remaining_s is not None for call in hops), "a hop started without a deadline"
    least_s = min(call.remaining_s or 0.0 for call in hops)
    assert least_s > 0, "a hop started with nothing left"
    last = max(hops, key=lambda call: call.outlived_s(stalls))
    assert last.outlived_s(stalls) <= most_s, f"outlived its deadline: {last}"
    return least_s, last.outlived_s(stalls)


def in_time_share(outcomes: list[Outcome]) -> float:
    """Return the share of answers and typed refusals among questions with enough time."""
    enough = [each for each in outcomes if each.budget_s >= ENOUGH_S]
    return statistics.fmean(each.ending != "bare" for each in enough)


async def settle(traffic: Traffic) -> None:
    """Wait until no call of a question runs any more."""

    async def is_settled() -> bool:
        return not any(method.endswith(OF_QUESTIONS) for method in traffic.running())

    await until(is_settled)


@pytest.fixture
async def mesh(
    redis_url: str, model_dir: Path, tmp_path: Path, traffic: Traffic, no_blocking: BlockBuster
) -> AsyncIterator[Mesh]:
    """A mesh with the limits that it is deployed with."""
    setting = Setting(redis_url, model_dir, tmp_path, interceptors=[traffic], is_patient=False)
    async with open_mesh(setting, no_blocking) as opened:
        yield opened


async def ask_slowly(
    mesh: Mesh, traffic: Traffic, count: int, *, more_s: float, times: float
) -> tuple[list[Outcome], Stalls]:
    """Ask questions while every hop below the orchestrator is slowed at random."""
    traffic.delays = Delays(seed=7, times=times)
    traffic.is_slowed = lambda method: not method.startswith(ORCHESTRATOR)
    traffic.calls.clear()
    stalls = Stalls()
    async with stalls.watched():
        outcomes = await ask_all(mesh, count, seed=3, more_s=more_s)
        await settle(traffic)
    return outcomes, stalls


@pytest.mark.parametrize("more_s", [0.0, 1.0])
async def test_an_answer_or_a_refusal_comes_in_time(
    mesh: Mesh, traffic: Traffic, more_s: float
) -> None:
    outcomes, stalls = await ask_slowly(mesh, traffic, 16, more_s=more_s, times=5)
    check_hops(traffic, stalls, WIDELY_S)
    assert in_time_share(outcomes) > 0.7


@pytest.mark.prove
@pytest.mark.parametrize("more_s", [0.0, 1.0])
@pytest.mark.parametrize("times", [1.0, 5.0])
async def test_two_hundred_answers_or_refusals_come_in_time(
    mesh: Mesh, traffic: Traffic, more_s: float, times: float
) -> None:
    outcomes, stalls = await ask_slowly(mesh, traffic, 200, more_s=more_s, times=times)
    least_s, most_s = check_hops(traffic, stalls, MOST_OUTLIVED_S)
    enough = [each for each in outcomes if each.budget_s >= ENOUGH_S]
    early = statistics.fmean(each.first_s <= each.budget_s for each in enough)
    print(
        f"deadlines: {len(outcomes)} questions (call {more_s:g} s longer than the budget, hops"
        f" slowed {times:g}x): {dict(Counter(each.ending for each in outcomes))},"
        f" {len(traffic.calls)} hops; answered or refused in time {in_time_share(outcomes):.1%}"
        f" of {len(enough)}, first text in time {early:.1%}; least left at a start"
        f" {least_s * 1e3:.1f} ms, most outlived {most_s * 1e3:.1f} ms, longest stall of the"
        f" machine {stalls.longest_s * 1e3:.1f} ms"
    )
    assert in_time_share(outcomes) >= 0.99


class Careless(Connection):
    """A connection as gRPC has it by itself: the caller's deadline stays with the caller."""

    async def unary(self, method: Any, request: Any, *, limit_s: float | None = None) -> Any:
        with spending(None):
            return await super().unary(method, request)

    @asynccontextmanager
    async def stream(
        self, method: Any, request: Any, *, limit_s: float | None = None
    ) -> AsyncIterator[Responses]:
        with spending(None):
            streaming = super().stream(method, request)
            messages = await streaming.__aenter__()
        try:
            yield messages
        finally:
            await streaming.__aexit__(None, None, None)


async def test_without_budgets_that_travel_answers_come_late(
    redis_url: str, model_dir: Path, tmp_path: Path, traffic: Traffic, no_blocking: BlockBuster
) -> None:
    setting = Setting(
        redis_url,
        model_dir,
        tmp_path,
        interceptors=[traffic],
        connection=Careless,
        is_patient=False,
    )
    async with open_mesh(setting, no_blocking) as mesh:
        outcomes, stalls = await ask_slowly(mesh, traffic, 16, more_s=0.0, times=5)
        with pytest.raises(AssertionError, match="without a deadline"):
            check_hops(traffic, stalls, WIDELY_S)
        assert in_time_share(outcomes) < 0.7
