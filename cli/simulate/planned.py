"""hasten's own way through a scenario: the planner, the ladder and the allowance of the mesh."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

from cli.simulate.scenario import Hop, Scenario, Text
from cli.simulate.tally import Outcome, Tally
from cli.simulate.timeline import Parked, Process, Timeline
from cli.simulate.world import SECOND, Backend, World
from libs.errors import OverloadedError
from libs.resilience import Admission, Allowance, Distribution, Gate, Limiter, Sketches, Ticket
from services.orchestrator.planning.ladder import Ladder, Step, Writer
from services.orchestrator.planning.planner import Planner, Prior
from services.orchestrator.planning.tables import Node, Stage, TextStage, Writing

BEST, FAST, STAND_IN = "best", "fast", "extractive"
_P99_OF_MEDIAN = 3.0
_METHOD = "simulated"
# What a request has in flight with the text's backend, of its slots, before the limit adapts.
_MOST_IN_FLIGHT = 256
_BURST = 10.0
_BAND=0.15


@dataclass(frozen=True, slots=True)
class Terms:
    """What the planner is told about the worth of things, in late answers.

    Attributes:
        fast_loss: of a text by the fast tier from the start.
        win_loss: of a text by the fast tier that was called second.
        call_loss: of calling the fast tier second.
        stand_in_loss: of a text without a model.
        share: second calls to the fast tier per request, at most.
        hedge_share: second calls to hops that only read, per call, at most.
        admits: False lets everybody in.
    """

    fast_loss: float = 0.015
    win_loss: float = 0.01
    call_loss: float = 0.035
    stand_in_loss: float = 0.1
    share: float = 0.2
    hedge_share: float = 0.05
    admits: bool = True
    least_met: float = 0.985


class Planned:
    """Takes every request through the ladder."""

    def __init__(
        self, scenario: Scenario, world: World, timeline: Timeline, terms: Terms | None = None
    ) -> None:
        terms = terms or Terms()
        self._terms = terms
        self._world = world
        self._timeline = timeline
        self._text = scenario.text
        self._ladder = _ladder(scenario, terms)
        self._prior = _prior(scenario)
        sketches = Sketches(scenario.half_life_s, timeline.clock)
        self.planner = Planner(sketches, timeline.clock)
        self.calls = Allowance(terms.share, _BURST)
        self.hedges = Allowance(terms.hedge_share, _BURST)
        self._backend = Backend(timeline, scenario.text.slots) if scenario.text.slots else None
        self._gate = _gate(timeline) if scenario.text.slots and terms.admits else None
        self.tally = Tally([Outcome() for _ in range(scenario.requests)])

    def request(self, number: int) -> Process:
        """Answer one request."""
        outcome = self.tally.outcomes[number]
        started_s = self._timeline.now_s
        self.planner.refresh()
        patience_s, band = self._world.patience_s[number], self._band()
        node = self.planner.tables(self._ladder, self._prior, band)
        promised = node.outlook.met_at(patience_s)
        ticket: Ticket | None = None
        if self._gate is not None:
            try:
                if promised < self._terms.least_met:
                    raise OverloadedError("")
                ticket = self._gate.admit(None, queue_s=0.0, remaining_s=patience_s)
            except OverloadedError:
                outcome.refused, outcome.took_s = True, 0.0
                return
        outcome.promised = promised
        yield from self._answer(number, outcome, ticket, node, band)
        outcome.took_s = self._timeline.now_s - started_s

    def _band(self) -> int:
        if self._gate is None:
            return 0
        return round(math.log1p(self._gate.limiter.in_flight) / _BAND)

    def _answer(
        self, number: int, outcome: Outcome, ticket: Ticket | None, node: Node, band: int
    ) -> Generator[float | Parked, None, None]:
        end_s = self._timeline.now_s + self._world.patience_s[number]
        self._b = band
        self.calls.deposit()
        while isinstance(node, Stage):
            node = yield from self._step(node, number, end_s, outcome)
        yield from self._write(node, number, end_s, outcome, band)
        outcome.in_time = outcome.in_time and self._timeline.now_s <= end_s
        if ticket is not None:
            if outcome.in_time:
                ticket.answered()
            ticket.leave(cut=not outcome.in_time)

    def _step(
        self, stage: Stage, number: int, end_s: float, outcome: Outcome
    ) -> Generator[float | Parked, None, Node]:
        left_s = end_s - self._timeline.now_s
        if not stage.is_done(left_s):
            outcome.degraded = True
            return stage.without or stage.then
        limit_s = max(0.0, stage.limit_s(left_s))
        takes_s = self._takes_s(stage, number, limit_s, outcome)
        yield min(takes_s, limit_s)
        if takes_s <= limit_s:
            return stage.then
        outcome.degraded = True
        return stage.without or stage.then

    def _takes_s(self, stage: Stage, number: int, limit_s: float, outcome: Outcome) -> float:
        """Return what a step takes, with a second call if it is slow; and learn from both."""
        hop = stage.step.hop
        first_s = self._world.takes_s(hop, number)
        second_s = math.inf
        self.hedges.deposit()
        if stage.hedge_s < min(first_s, limit_s) and self.hedges.withdraw():
            outcome.hedges += 1
            second_s = stage.hedge_s + self._world.takes_s(hop, number, SECOND)
        ended_s = min(first_s, second_s, limit_s)
        self._learn(hop, stage.step.rung, first_s, ended_s)
        if second_s < math.inf:
            own_s = ended_s - stage.hedge_s
            self._learn(hop, stage.step.rung, second_s - stage.hedge_s, own_s)
        return min(first_s, second_s)

    def _write(
        self, stage: TextStage, number: int, end_s: float, outcome: Outcome, band: int
    ) -> Generator[float | Parked, None, None]:
        left_s = end_s - self._timeline.now_s
        if left_s <= 0:
            return
        writing = stage.decide(left_s)
        outcome.degraded |= writing.writer.rung != BEST
        if self._backend is not None:
            takes_s = self._world.takes_s(self._text.hop, number)
            since_s = self._timeline.now_s
            outcome.in_time = yield from self._backend.serve(takes_s, end_s)
            took_s = self._timeline.now_s - since_s
            self.planner.learn(
                self._text.hop, writing.writer.rung, band, took_s, is_cut=not outcome.in_time
            )
            return
        yield from self._race(writing, number, left_s, outcome)

    def _race(
        self, writing: Writing, number: int, left_s: float, outcome: Outcome
    ) -> Generator[float | Parked, None, None]:
        rung, hop = writing.writer.rung, self._text.hop
        limit_s = min(left_s, writing.give_up_after_s)
        first_s = self._writes_s(rung, number)
        second_s = math.inf
        if writing.hedge_after_s < min(first_s, limit_s) and self.calls.withdraw():
            outcome.extra += 1
            second_s = writing.hedge_after_s + self._writes_s(FAST, number, SECOND)
        ended_s = min(first_s, second_s, limit_s)
        yield ended_s
        self._learn(hop, rung, first_s, ended_s)
        if second_s < math.inf:
            after_s = writing.hedge_after_s
            self._learn(hop, FAST, second_s - after_s, ended_s - after_s)
        outcome.degraded |= second_s < first_s
        outcome.in_time = min(first_s, second_s) <= limit_s
        if not outcome.in_time and limit_s < left_s:
            outcome.degraded = outcome.in_time = True
            yield self._writes_s(STAND_IN, number)

    def _writes_s(self, rung: str, number: int, draw: int = 0) -> float:
        if rung == STAND_IN:
            return self._text.stand_in_ms / 1e3
        takes_s = self._world.takes_s(self._text.hop, number, draw)
        return takes_s * (self._text.fast_factor if rung == FAST else 1.0)

    def _learn(self, hop: str, rung: str, takes_s: float, ended_s: float) -> None:
        self.planner.learn(hop, rung, 0, min(takes_s, ended_s), is_cut=takes_s > ended_s)


def _ladder(scenario: Scenario, terms: Terms) -> Ladder:
    writers = [Writer(BEST)]
    if scenario.text.fast_factor:
        writers.append(
            Writer(FAST, terms.fast_loss, terms.win_loss, terms.call_loss, is_backup=True)
        )
    if scenario.text.stand_in_ms:
        writers.append(Writer(STAND_IN, terms.stand_in_loss, terms.stand_in_loss, is_stand_in=True))
    return Ladder(tuple(map(_step, scenario.hops)), scenario.text.hop, tuple(writers))


def _step(hop: Hop) -> Step:
    return Step(hop.hop, hop.skip_loss, hop.cut_loss, is_hedged=hop.replicas > 1)


def _prior(scenario: Scenario) -> Prior:
    """Return what is expected before anything is known: the targets, right or wrong."""

    def expected(hop: Hop | Text, factor: float = 1.0) -> Distribution:
        median_s = hop.median_ms / 1e3 * factor * scenario.expected_factor
        return Distribution.lognormal(median_s, _P99_OF_MEDIAN * median_s)

    text = scenario.text
    prior = {(hop.hop, ""): expected(hop) for hop in scenario.hops}
    prior[text.hop, BEST] = expected(text)
    if text.fast_factor:
        prior[text.hop, FAST] = expected(text, text.fast_factor)
    if text.stand_in_ms:
        prior[text.hop, STAND_IN] = expected(text, text.stand_in_ms / text.median_ms)
    return prior


def _gate(timeline: Timeline) -> Gate:
    return Admission(Limiter(_MOST_IN_FLIGHT), clock=timeline.clock).gate(_METHOD)
