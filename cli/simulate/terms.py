"""What hasten's way through a scenario is told: what things are worth, and what to expect."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cli.simulate.scenario import Hop, Scenario, Text
from libs.resilience.distribution import Distribution
from services.orchestrator.planning.ladder import Ladder, Step, Writer
from services.orchestrator.planning.planner import Prior

BEST, FAST, STAND_IN = "best", "fast", "extractive"
_P99_OF_MEDIAN = 3.0


class Learning(StrEnum):
    """What is learned from a call that was cut.

    The planner of the mesh takes it as cut. The other two are here to be tried against it.
    """

    CUT = "as cut"
    DROPPED = "not at all"
    ELAPSED = "as ended then"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the planner is told about the worth of things, in late answers.

    Attributes:
        fast_loss: of a text by the fast tier from the start.
        win_loss: of a text by the fast tier that was called second.
        call_loss: of calling the fast tier second.
        stand_in_loss: of a text without a model.
        hop_loss_factor: what skipping and cutting hops costs, of what the scenario says.
        share: second calls to the fast tier per request, at most.
        hedge_share: second calls to hops that only read, per call, at most.
        crowd_loss: whose chance of text in time may fall short by this, or be lesser by this
            than with less in flight, is never turned away.
        admits_all: True turns nobody away.
        learning: what is learned from calls that were cut.
    """

    fast_loss: float = 0.03
    win_loss: float = 0.01
    call_loss: float = 0.031
    stand_in_loss: float = 0.1
    hop_loss_factor: float = 1.0
    share: float = 0.2
    hedge_share: float = 0.05
    crowd_loss: float = 0.005
    admits_all: bool = False
    learning: Learning = Learning.CUT


def ladder_of(scenario: Scenario, terms: Terms) -> Ladder:
    """Return the ways to a first text that a scenario has."""
    writers = [Writer(BEST)]
    if scenario.text.fast_factor:
        writers.append(
            Writer(FAST, terms.fast_loss, terms.win_loss, terms.call_loss, is_backup=True)
        )
    if scenario.text.stand_in_ms:
        writers.append(Writer(STAND_IN, terms.stand_in_loss, terms.stand_in_loss, is_stand_in=True))
    steps = tuple(_step(hop, terms.hop_loss_factor) for hop in scenario.hops)
    return Ladder(steps, scenario.text.hop, tuple(writers))


def prior_of(scenario: Scenario) -> Prior:
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


def _step(hop: Hop, factor: float) -> Step:
    skip_loss = None if hop.skip_loss is None else hop.skip_loss * factor
    cut_loss = None if hop.cut_loss is None else hop.cut_loss * factor
    return Step(hop.hop, skip_loss, cut_loss, is_hedged=hop.replicas > 1)
