"""How a run ends when something in it should not have happened."""

import asyncio
from typing import Any, cast

import pytest
from opentelemetry.trace import INVALID_SPAN

from libs.budget import Budget
from libs.errors import InternalError
from libs.resilience.sketches import Sketches
from libs.values import ModelTier, Quality, Question
from libs.values.generation import Model
from services.orchestrator.answering import Answering, Asked
from services.orchestrator.course import Courses
from services.orchestrator.hops import Clients
from services.orchestrator.keeping import Keeper
from services.orchestrator.ledger import Ledger
from services.orchestrator.plan import ladder_of, prior_of
from services.orchestrator.policy import Policy
from services.orchestrator.report import Report
from services.orchestrator.run import Run


class Broken:
    """Stands where a client should be, and breaks in a way that no client does."""

    def __getattr__(self, name: str) -> Any:
        msg = "password is swordfish"
        raise ZeroDivisionError(msg)


async def test_a_run_that_breaks_ends_for_its_readers_and_tells_them_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    question = Question("acme", "Why?")
    run = Run("r1", "acme", resumable=False)
    budget = Budget.of(5.0)
    report = Report(question, run, Ledger(budget.clock), INVALID_SPAN, ModelTier.EXTRACTIVE)
    broken = cast("Any", Broken())
    model = Model(ModelTier.EXTRACTIVE, "extractive", "extractive")
    policy = Policy("interactive")
    courses = Courses(Sketches(None, budget.clock), budget.clock)
    ladder = ladder_of(policy, (model.tier,), Quality.UNSPECIFIED, reads=True)
    course = courses.course(ladder, prior_of(policy.costs))
    asked = Asked(question, policy, model, budget, course)
    clients = Clients(broken, broken, broken, broken)
    await Answering(asked, run, report, clients, Keeper(broken)).run()
    with pytest.raises(InternalError) as caught:
        await asyncio.wait_for(anext(run.read()), 5)
    assert "swordfish" not in str(caught.value)
    assert "swordfish" in caplog.text
