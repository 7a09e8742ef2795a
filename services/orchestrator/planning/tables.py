"""From a ladder and latencies to tables, and from tables to decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from libs.resilience.distribution import Distribution
from services.orchestrator.planning.ladder import Ladder, Step, Writer
from services.orchestrator.planning.lefts import LEFTS_S
from services.orchestrator.planning.outlook import (
    Choice,
    Cut,
    Outlook,
    after,
    choose,
    cut,
    delivered,
)
from services.orchestrator.planning.race import Backup, Race, StandIn, race

Latency = Callable[[str, str], Distribution]
"""How long a hop takes on a rung."""

# A second call of a hop that only reads is made after this share of calls has ended
# (Dean & Barroso, "The Tail at Scale", CACM 56(2), 2013).
HEDGE_QUANTILE = 0.95
# Of the time left, the stand-in's is kept so that it fails to come in one case in so many.
_STAND_IN_QUANTILE = 0.99
# A step is ended when what must follow it would hardly ever be in time any more.
_HARDLY = 0.01
# A way is kept while another is better by less than this, in late answers.
_MARGIN = 0.002


@dataclass(frozen=True, slots=True)
class Writing:
    """How to get the text.

    Attributes:
        writer: who is asked first.
        hedge_after_s: when to ask the backup as well, from the first call; inf is never.
        give_up_after_s: when to take the stand-in instead, from the first call.
        met: probability of a first text in time.
    """

    writer: Writer
    hedge_after_s: float
    give_up_after_s: float
    met: float


@dataclass(frozen=True, slots=True, eq=False)
class TextStage:
    """The end of every way: who writes, by time left.

    Attributes:
        hop: the one that writes.
        outlook: before it is known who writes.
        writers: from the best to the least.
        races: what is to be expected of each.
        choice: which of them, by time left.
        medians_s: what each takes to its first text, as a target.
    """

    hop: str
    outlook: Outlook
    writers: tuple[Writer, ...]
    races: tuple[Race, ...]
    choice: Choice
    medians_s: tuple[float, ...]

    def decide(self, left_s: float) -> Writing:
        """Return how to get the text with `left_s` seconds left."""
        return self._by(self.choice.at(left_s), left_s)

    def first(self, left_s: float) -> Writing:
        """Return how the best writer is asked, whether or not that is wise."""
        return self._by(0, left_s)

    def _by(self, number: int, left_s: float) -> Writing:
        found = self.races[number]
        return Writing(
            self.writers[number],
            found.hedge_after_s(left_s),
            max(0.0, left_s - found.reserve_s),
            found.outlook.met_at(left_s),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A step, with what follows it.

    Attributes:
        step: what is done.
        outlook: before it is known whether it is done.
        run: the outlook if it is done, and when it is cut.
        then: what follows if it ends.
        without: what follows if it is skipped or cut; None if that is the end.
        choice: whether it is done (0) or skipped (1); None where it must be done.
        hedge_s: when a second call is made; inf is never.
        median_s: what it takes, as a target.
    """

    step: Step
    outlook: Outlook
    run: Cut
    then: Stage | TextStage
    without: Stage | TextStage | None
    choice: Choice | None
    hedge_s: float
    median_s: float

    def is_done(self, left_s: float) -> bool:
        """Return whether to begin the step with `left_s` seconds left."""
        return self.choice is None or self.choice.at(left_s) == 0

    def limit_s(self, left_s: float) -> float:
        """Return the hard limit of the step with `left_s` seconds left."""
        return self.run.limit_s(left_s)


Node = Stage | TextStage


def build(ladder: Ladder, latency: Latency, before: Node | None = None) -> Node:
    """Return the first stage of a ladder's tables.

    Args:
        ladder: the steps and the writers.
        latency: what each is expected to take now.
        before: the tables of before, whose choices are kept while they are nearly as good.
    """
    return _Builder(ladder, latency).stage(0, frozenset(), before)


class _Builder:
    """Builds from the end; what steps share after them is built once."""

    def __init__(self, ladder: Ladder, latency: Latency) -> None:
        self._ladder = ladder
        self._latency = latency
        self._needed = frozenset(step.needs for step in ladder.steps if step.needs)
        self._text: TextStage | None = None
        self._built: dict[tuple[int, frozenset[str]], Node] = {}

    def stage(self, number: int, lost: frozenset[str], before: Node | None) -> Node:
        key = (number, lost)
        if key not in self._built:
            self._built[key] = self._make(number, lost, before)
        return self._built[key]

    def _make(self, number: int, lost: frozenset[str], before: Node | None) -> Node:
        if number == len(self._ladder.steps):
            return self._text_stage(before if isinstance(before, TextStage) else None)
        step = self._ladder.steps[number]
        was = before if isinstance(before, Stage) else None
        then = self.stage(number + 1, lost, was.then if was else None)
        lesser = lost | ({step.hop} & self._needed)
        without = self.stage(number + 1, lesser, was.without if was else None)
        if step.needs in lost:
            # The lesser way has nothing that comes before its end.
            lesser_step = replace(step, rung=step.lesser_rung, cut_loss=None)
            return self._stage_of(lesser_step, (then, without), was)
        return self._stage_of(step, (then, without), was)

    def _stage_of(self, step: Step, follows: tuple[Node, Node], was: Stage | None) -> Stage:
        then, without = follows
        takes = self._latency(step.hop, step.rung)
        median_s, hedge_s = takes.quantile(0.5), float("inf")
        if step.is_hedged:
            hedge_s = takes.quantile(HEDGE_QUANTILE)
            takes = takes.sooner(takes.shifted(hedge_s))
        run = self._run(step, takes, then, without)
        choice = None
        if step.skip_loss is not None:
            skipped = without.outlook.costing(step.skip_loss)
            choice = choose([run.outlook, skipped], was.choice if was else None, _MARGIN)
        outlook = run.outlook if choice is None else choice.outlook
        goes_on = step.skip_loss is not None or step.cut_loss is not None
        rest = without if goes_on else None
        return Stage(step, outlook, run, then, rest, choice, hedge_s, median_s)

    def _text_stage(self, was: TextStage | None) -> TextStage:
        if self._text is None:
            writers = self._ladder.writers
            races = tuple(self._race(number) for number in range(len(writers)))
            ways = [
                each.outlook.costing(writer.loss)
                for each, writer in zip(races, writers, strict=True)
            ]
            is_same = was is not None and was.writers == writers
            choice = choose(ways, was.choice if was and is_same else None, _MARGIN)
            medians_s = tuple(
                self._latency(self._ladder.text, writer.rung).quantile(0.5) for writer in writers
            )
            self._text = TextStage(
                self._ladder.text, choice.outlook, writers, races, choice, medians_s
            )
        return self._text

    def _race(self, number: int) -> Race:
        writers, hop = self._ladder.writers, self._ladder.text
        lesser = writers[number + 1 :]
        backup = next((each for each in lesser if each.is_backup), None)
        stand_in = next((each for each in lesser if each.is_stand_in), None)
        return race(
            self._latency(hop, writers[number].rung).shifted(self._ladder.reserve_s),
            self._backup(backup) if backup else None,
            self._stand_in(stand_in) if stand_in else None,
        )

    def _backup(self, writer: Writer) -> Backup:
        takes = self._latency(self._ladder.text, writer.rung).shifted(self._ladder.reserve_s)
        return Backup(takes, writer.win_loss, writer.call_loss)

    def _stand_in(self, writer: Writer) -> StandIn:
        takes = self._latency(self._ladder.text, writer.rung).shifted(self._ladder.reserve_s)
        outlook = after(takes, delivered()).costing(writer.win_loss)
        return StandIn(outlook, takes.quantile(_STAND_IN_QUANTILE))

    def _run(self, step: Step, takes: Distribution, then: Node, without: Node) -> Cut:
        if step.cut_loss is None:
            return _uncut(takes, then)
        partial = self._latency(step.hop, step.partial_rung) if step.partial_rung else None
        return cut(takes, then.outlook, without.outlook.costing(step.cut_loss), partial)


def _uncut(takes: Distribution, then: Node) -> Cut:
    """Return a step that ends only where what must follow could hardly be in time any more."""
    enough = np.flatnonzero(then.outlook.met >= _HARDLY * float(then.outlook.met[-1]))
    least_s = float(LEFTS_S[enough[0]]) if len(enough) else 0.0
    return Cut(after(takes, then.outlook), np.maximum(LEFTS_S - least_s, 0.0))
