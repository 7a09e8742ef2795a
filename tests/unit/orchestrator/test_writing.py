"""Of two who write the same text one is heard, whole, and nobody is left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.errors import BudgetExhaustedError, MeshError, ModelUnavailableError
from libs.values import FinishReason, ModelTier, TextDelta, Usage
from libs.values.basics import Timing
from libs.values.generation import GenerationCompleted, Prompt
from services.orchestrator.ledger import HopRecord
from services.orchestrator.plan import BEST, FAST, TIER_OF
from services.orchestrator.writing import Clocks, Contest, Writing

CLOCKS = Clocks(5.0, 10.0)


@dataclass
class Model:
    """Writes two pieces after a while, or fails; counts what was given up."""

    silent_s: float = 0.0
    gap_s: float = 0.0
    fails: bool = False
    cancelled: int = 0
    asked: int = 0


@dataclass
class Models:
    """The client of two models; each text names the tier that wrote it."""

    by_tier: dict[ModelTier, Model] = field(default_factory=dict)

    @asynccontextmanager
    async def generate(
        self, prompt: Prompt, *, limit_s: float, first_text_s: float
    ) -> AsyncIterator[AsyncIterator[Any]]:
        model = self.by_tier[prompt.tier]
        model.asked += 1
        try:
            yield self._events(model, prompt.tier)
        except asyncio.CancelledError:
            model.cancelled += 1
            raise

    async def _events(self, model: Model, tier: ModelTier) -> AsyncIterator[Any]:
        await asyncio.sleep(model.silent_s)
        if model.fails:
            raise ModelUnavailableError(tier.name)
        yield TextDelta(f"{tier.name} ")
        await asyncio.sleep(model.gap_s)
        yield TextDelta("said so.")
        yield GenerationCompleted(FinishReason.END_TURN, Usage(), Timing(), None)


@dataclass
class Told:
    """What came of a contest."""

    text: str = ""
    error: MeshError | None = None
    leader: ModelTier = ModelTier.UNSPECIFIED


async def contest(
    best: Model, fast: Model, after_s: float, *, allowed: bool = True, clocks: Clocks = CLOCKS
) -> Told:
    models = cast("Any", Models({ModelTier.BEST: best, ModelTier.FAST: fast}))
    told = Told()

    def emit(event: Any) -> None:
        told.text += event.text

    def writing(rung: str) -> Writing:
        record = HopRecord("generation", 10.0, time.monotonic, "", lambda *_: None)
        return Writing(models, rung, record, emit)

    def second() -> Writing | None:
        return writing(FAST) if allowed else None

    made = Contest(writing(BEST), second, after_s, emit)
    try:
        await made.run(lambda rung: Prompt("acme", "Why?", TIER_OF[rung]), clocks)
    except MeshError as error:
        told.error = error
    told.leader = TIER_OF[made.leader.rung]
    return told


async def test_a_model_that_speaks_in_time_is_the_only_one_asked() -> None:
    fast = Model()
    told = await contest(Model(), fast, 1.0)
    assert (told.text, fast.asked) == ("BEST said so.", 0)


async def test_the_second_is_heard_where_the_first_is_silent() -> None:
    best = Model(silent_s=30.0)
    told = await contest(best, Model(), 0.01)
    assert (told.text, told.leader, best.cancelled) == ("FAST said so.", ModelTier.FAST, 1)


async def test_the_first_may_still_win() -> None:
    fast = Model(silent_s=30.0)
    told = await contest(Model(silent_s=0.05), fast, 0.01)
    assert (told.text, fast.cancelled) == ("BEST said so.", 1)


async def test_a_text_that_has_begun_is_let_end_whatever_its_pace() -> None:
    fast = Model()
    told = await contest(Model(gap_s=0.1), fast, 0.05)
    assert (told.text, fast.asked) == ("BEST said so.", 0)


async def test_without_an_allowance_nobody_else_is_asked() -> None:
    told = await contest(Model(silent_s=0.05), Model(), 0.01, allowed=False)
    assert told.text == "BEST said so."


async def test_the_second_goes_on_where_the_first_fails() -> None:
    told = await contest(Model(silent_s=0.05, fails=True), Model(silent_s=0.1), 0.01)
    assert (told.text, told.error) == ("FAST said so.", None)


async def test_the_first_goes_on_where_the_second_fails() -> None:
    told = await contest(Model(silent_s=0.1), Model(fails=True), 0.01)
    assert (told.text, told.error) == ("BEST said so.", None)


async def test_if_both_are_silent_the_clock_ends_both() -> None:
    best, fast = Model(silent_s=30.0), Model(silent_s=30.0)
    told = await contest(best, fast, 0.01, clocks=Clocks(0.1, 10.0))
    assert isinstance(told.error, BudgetExhaustedError)
    assert (best.cancelled, fast.cancelled) == (1, 1)


async def test_who_leaves_leaves_nobody_behind() -> None:
    best, fast = Model(silent_s=30.0), Model(silent_s=30.0)
    task = asyncio.create_task(contest(best, fast, 0.01))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (best.cancelled, fast.cancelled) == (1, 1)


silence = st.sampled_from([0.0, 0.002, 0.004, 0.03])


@given(first=silence, second=silence, after=silence, fails=st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_text_is_of_two_writers(
    first: float, second: float, after: float, *, fails: bool
) -> None:
    told = asyncio.run(
        contest(Model(first, gap_s=0.002, fails=fails), Model(second, gap_s=0.002), after)
    )
    assert told.text in ("BEST said so.", "FAST said so.") or (
        fails and told.error and not told.text
    )
