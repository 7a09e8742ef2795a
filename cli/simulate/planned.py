"""hasten's own way through a scenario: the planner, the ladder and the allowance of the mesh."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

from cli.simulate.scenario import Scenario
from cli.simulate.tally import Outcome, Tally
from cli.simulate.terms import BEST, FAST, STAND_IN, Learning, Terms, ladder_of, prior_of
from cli.simulate.timeline import Parked, Process, Timeline
from cli.simulate.world import SECOND, Backend, World
from libs.errors import OverloadedError
from libs.resilience import Allowance, Limiter
from libs.resilience.sketches import Sketches
from services.orchestrator.planning.door import Caller, Door, Pass
from services.orchestrator.planning.ladder import Ladder, price
from services.orchestrator.planning.planner import Planner
from services.orchestrator.planning.tables import Node, Stage, TextStage, Writing

# Where the limit on what is in flight begins, before it has learned anything: high enough to
# be wrong, as a server's default is.
MOST_IN_FLIGHT = 64
_BURST = 20.0

Steps = Generator[float | Parked, None, None]


@dataclass(slots=True)
class _Run:
    """One request under way."""

    number: int
    end_s: float
    band: int
    outcome: Outcome
    let_in: Pass | None = None


class Planned:
    """Takes every request through the ladder."""

    def __init__(
        self, scenario: Scenario, world: World, timeline: Timeline, terms: Terms | None = None
    ) -> None:
        self._terms = terms or Terms()
        self._world = world
        self._timeline = timeline
        self._text = scenario.text
        self._ladder = ladder_of(scenario, self._terms)
        self._prior = prior_of(scenario)
        self.planner = Planner(Sketches(scenario.half_life_s, timeline.clock), timeline.clock)
        self.calls = Allowance(self._terms.share, _BURST)
        self.hedges = Allowance(self._terms.hedge_share, _BURST)
        self._backend = Backend(timeline, scenario.text.slots) if scenario.text.slots else None
        limiter = Limiter(MOST_IN_FLIGHT)
        self._door = Door(self.planner, limiter, timeline.clock, scenario.half_life_s)
        self._judges = self._backend is not None and not self._terms.admits_all
        self.tally = Tally([Outcome() for _ in range(scenario.requests)])

    def request(self, number: int) -> Process:
        """Answer one request."""
        self.planner.refresh()
        started_s, outcome = self._timeline.now_s, self.tally.outcomes[number]
        run = _Run(number, started_s + self._world.patience_s[number], 0, outcome)
        ladder = self._ladder.priced(price(self.calls.available, _BURST))
        if self._is_admitted(run, ladder):
            node = self.planner.tables(ladder, self._prior, run.band)
            outcome.promised = node.outlook.met_at(run.end_s - started_s)
            yield from self._answer(run, node)
        outcome.took_s = self._timeline.now_s - started_s

    def _is_admitted(self, run: _Run, ladder: Ladder) -> bool:
        if not self._judges:
            return True
        left_s = run.end_s - self._timeline.now_s
        try:
            run.let_in = self._door.admit(
                Caller(ladder, self._prior, left_s, self._terms.crowd_loss)
            )
        except OverloadedError:
            run.outcome.refused = True
            return False
        run.band = run.let_in.band
        return True

    def _answer(self, run: _Run, node: Node) -> Steps:
        self.calls.deposit()
        started_s = self._timeline.now_s
        while isinstance(node, Stage):
            node = yield from self._step(node, run)
        yield from self._write(node, run)
        outcome = run.outcome
        outcome.in_time = outcome.in_time and self._timeline.now_s <= run.end_s
        if run.let_in is not None:
            took_s = self._timeline.now_s - started_s
            run.let_in.learn(took_s if outcome.in_time else None)
            run.let_in.leave()

    def _step(self, stage: Stage, run: _Run) -> Generator[float | Parked, None, Node]:
        left_s = run.end_s - self._timeline.now_s
        if stage.is_done(left_s):
            limit_s = max(0.0, stage.limit_s(left_s))
            takes_s = self._takes_s(stage, run, limit_s)
            yield min(takes_s, limit_s)
            if takes_s <= limit_s:
                return stage.then
        run.outcome.degraded = True
        return stage.without or stage.then

    def _takes_s(self, stage: Stage, run: _Run, limit_s: float) -> float:
        """Return what a step takes, with a second call if it is slow; and learn from both."""
        hop, rung = stage.step.hop, stage.step.rung
        first_s = self._world.takes_s(hop, run.number)
        second_s = math.inf
        self.hedges.deposit()
        if stage.hedge_s < min(first_s, limit_s) and self.hedges.withdraw():
            run.outcome.hedges += 1
            second_s = stage.hedge_s + self._world.takes_s(hop, run.number, SECOND)
        ended_s = min(first_s, second_s, limit_s)
        self._learn(hop, rung, first_s, ended_s)
        if second_s < math.inf:
            self._learn(hop, rung, second_s - stage.hedge_s, ended_s - stage.hedge_s)
        return min(first_s, second_s)

    def _write(self, stage: TextStage, run: _Run) -> Steps:
        left_s = run.end_s - self._timeline.now_s
        if left_s <= 0:
            return
        writing = stage.decide(left_s)
        run.outcome.degraded |= writing.writer.rung != BEST
        if self._backend is not None:
            yield from self._serve(self._backend, writing, run)
        elif writing.writer.rung == STAND_IN:
            run.outcome.in_time = True
            yield self._writes_s(STAND_IN, run.number)
        else:
            yield from self._race(writing, run, left_s)

    def _serve(self, backend: Backend, writing: Writing, run: _Run) -> Steps:
        since_s = self._timeline.now_s
        takes_s = self._writes_s(writing.writer.rung, run.number)
        is_served = yield from backend.serve(takes_s, run.end_s)
        run.outcome.in_time = is_served
        took_s = self._timeline.now_s - since_s
        rung = writing.writer.rung
        self._learn(self._text.hop, rung, took_s if is_served else math.inf, took_s, run.band)

    def _race(self, writing: Writing, run: _Run, left_s: float) -> Steps:
        rung, hop, outcome = writing.writer.rung, self._text.hop, run.outcome
        limit_s, after_s = min(left_s, writing.give_up_after_s), writing.hedge_after_s
        first_s, second_s = self._writes_s(rung, run.number), math.inf
        if after_s < min(first_s, limit_s) and self.calls.withdraw():
            outcome.extra += 1
            second_s = after_s + self._writes_s(FAST, run.number, SECOND)
        ended_s = min(first_s, second_s, limit_s)
        yield ended_s
        self._learn(hop, rung, first_s, ended_s)
        if second_s < math.inf:
            self._learn(hop, FAST, second_s - after_s, ended_s - after_s)
        outcome.degraded |= second_s < first_s
        outcome.in_time = min(first_s, second_s) <= limit_s
        if not outcome.in_time and limit_s < left_s:
            outcome.degraded = outcome.in_time = True
            yield self._writes_s(STAND_IN, run.number)

    def _writes_s(self, rung: str, number: int, draw: int = 0) -> float:
        if rung == STAND_IN:
            return self._text.stand_in_ms / 1e3
        takes_s = self._world.takes_s(self._text.hop, number, draw)
        return takes_s * (self._text.fast_factor if rung == FAST else 1.0)

    def _learn(self, hop: str, rung: str, takes_s: float, ended_s: float, band: int = 0) -> None:
        is_cut = takes_s > ended_s
        if is_cut and self._terms.learning is Learning.DROPPED:
            return
        is_cut = is_cut and self._terms.learning is Learning.CUT
        self.planner.learn(hop, rung, band, min(takes_s, ended_s), is_cut=is_cut)
