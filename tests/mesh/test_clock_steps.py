"""The wall clock is set by an hour in the middle of an answer, and nobody notices.

Everything that ends, fades or is judged goes by the monotonic clock. What a stored answer's
age is goes by the wall clock, as it must be the same on every replica: that is the exception.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import pytest

from libs.budget import Budget
from libs.values import FinishReason, Quality, Question, TextDelta
from tests.support.corpus import TENANT, other
from tests.support.mesh import Mesh, Told
from tests.support.provider.server import Provider

HOUR_S = 3600.0
# gRPC's core has a clock of its own, which a test cannot set: what is compared with it at once
# is let see the true one. Where a clock is truly set, both are.
_OF_GRPC = ("grpc", "libs.server.interceptor")


@dataclass
class Wall:
    """The wall clock, and how far it is off."""

    off_s: float = 0.0
    asked_count: int = 0

    def __post_init__(self) -> None:
        self.true = time.time

    def __call__(self) -> float:
        caller = str(sys._getframe(1).f_globals.get("__name__"))  # noqa: SLF001 - who asks
        if caller.startswith(_OF_GRPC):
            return self.true()
        self.asked_count += 1
        return self.true() + self.off_s


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    clock = Wall()
    monkeypatch.setattr(time, "time", clock)
    return clock


async def stepped(mesh: Mesh, wall: Wall, step_s: float, number: int) -> Told:
    """Ask, and set the clock once the first text has come."""
    events = []
    question = Question(TENANT, other(number))
    async with mesh.answers.ask(question, limit_s=30.0) as coming:
        async for each in coming:
            events.append(each)
            if isinstance(each.event, TextDelta):
                wall.off_s = step_s
    return Told(tuple(events))


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
async def test_an_answer_goes_on_while_the_clock_is_set(
    model_mesh: Mesh, provider: Provider, wall: Wall, step_s: float
) -> None:
    provider.behave(gap="0.01")
    before = await stepped(model_mesh, wall, step_s, 0)
    after = await stepped(model_mesh, wall, -step_s, 1)
    for told in (before, after):
        completed = told.completed
        assert completed.quality is Quality.FULL
        assert completed.finish_reason is FinishReason.END_TURN
        assert 0 < completed.account.total_s < 30
        assert (
            abs(
                sum(each.length_s for each in completed.account.pieces)
                - (completed.account.total_s)
            )
            < 0.001
        )
        assert not told.lost
    assert after.whole.plan is not None
    assert after.whole.plan.first_text_probability is not None
    assert after.whole.plan.first_text_probability > 0.9


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
def test_a_budget_by_the_wall_clock_would_notice(wall: Wall, step_s: float) -> None:
    kept, lost = Budget.of(10.0), Budget.of(10.0, clock=time.time)
    wall.off_s = step_s
    assert 9.0 < kept.remaining_s() <= 10.0
    assert not 9.0 < lost.remaining_s() <= 10.0
