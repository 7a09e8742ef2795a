"""What a run sets out to do: the ladder of its question, and a walk through its tables."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, fields

from libs.resilience.distribution import Distribution
from libs.values import Degradation, ModelTier, PlannedHop, Quality
from services.orchestrator.planning.ladder import Ladder, Step, Writer
from services.orchestrator.planning.planner import Prior
from services.orchestrator.planning.tables import Node, Stage
from services.orchestrator.policy import Costs, Losses, Policy

NO_TIME = "NO_TIME"
EMBEDDING, RETRIEVAL, GENERATION = "embedding", "retrieval", "generation"
EXACT, SEMANTIC, PROMPT = "cache.exact", "cache.semantic", "cache.prompt"

# Rungs whose latencies are told apart. The semantic lookup leads alone for a moment, or is
# not made at all; a search has its list by words before the one by words and meaning.
LEAD, NONE, DENSE, LEXICAL, ONE = "lead", "none", "dense", "lexical", "one"
RUNG_OF = {ModelTier.BEST: "best", ModelTier.FAST: "fast", ModelTier.EXTRACTIVE: "extractive"}
_TIER_OF = {rung: tier for tier, rung in RUNG_OF.items()}
# The 99th percentile of the latency targets is three times their median.
_P99_OF_MEDIAN = 3.0

_QUALITIES = {
    (True, ModelTier.BEST): Quality.FULL,
    (False, ModelTier.BEST): Quality.LEXICAL,
    (True, ModelTier.FAST): Quality.FAST,
    (False, ModelTier.FAST): Quality.FAST_LEXICAL,
    (True, ModelTier.EXTRACTIVE): Quality.EXTRACTIVE,
    (False, ModelTier.EXTRACTIVE): Quality.EXTRACTIVE_LEXICAL,
}


@dataclass(frozen=True, slots=True)
class Rungs:
    """One way to answer.

    Attributes:
        dense: True if passages are found by meaning too, not by words alone.
        tier: what writes the text.
    """

    dense: bool
    tier: ModelTier

    @property
    def quality(self) -> Quality:
        """The quality of an answer made this way."""
        return _QUALITIES[self.dense, self.tier]


@dataclass(frozen=True, slots=True)
class Outline:
    """A walk through the tables in which each hop takes what is expected of it.

    Attributes:
        rungs: the way that is taken.
        promised: probability of a first text in time, in [0, 1].
        hops: what is called, in order.
    """

    rungs: Rungs
    promised: float
    hops: tuple[PlannedHop, ...]

    @property
    def expected_s(self) -> float:
        """The seconds to the first text, if each hop takes its median."""
        return sum(hop.target_s for hop in self.hops)


@functools.lru_cache(maxsize=256)
def ladder_of(
    policy: Policy,
    tiers: tuple[ModelTier, ...],
    minimum: Quality,
    *,
    reads: bool,
    hedged: frozenset[str] = frozenset(),
) -> Ladder:
    """Return the ladder of a question.

    Args:
        policy: whose losses are weighed.
        tiers: what can write, best first.
        minimum: the least quality; rungs below it are left out.
        reads: True if stored answers may serve.
        hedged: hops that have a second backend to ask.
    """
    best, loss = tiers[0], policy.losses.lexical
    lexical_loss = loss if Rungs(dense=False, tier=best).quality >= minimum else None
    embed = Step(EMBEDDING, lexical_loss, lexical_loss, rung=ONE, is_hedged=EMBEDDING in hedged)
    lead = Step(SEMANTIC, needs=EMBEDDING, rung=LEAD, lesser_rung=NONE)
    search = Step(
        RETRIEVAL,
        cut_loss=lexical_loss,
        partial_rung=LEXICAL,
        needs=EMBEDDING,
        rung=DENSE,
        lesser_rung=LEXICAL,
        is_hedged=RETRIEVAL in hedged,
    )
    steps = (embed, lead, search, Step(PROMPT, rung=ONE)) if reads else (embed, search)
    good = [tier for tier in tiers if Rungs(dense=True, tier=tier).quality >= minimum]
    writers = [_writer(tier, best, policy.losses) for tier in good or tiers[:1]]
    return Ladder(steps, GENERATION, tuple(writers), name=policy.name)


def _writer(tier: ModelTier, best: ModelTier, losses: Losses) -> Writer:
    rung = RUNG_OF[tier]
    if tier is best:
        return Writer(rung)
    if tier is ModelTier.FAST:
        return Writer(rung, losses.fast, losses.fast_second, losses.second_call, is_backup=True)
    return Writer(rung, losses.extractive, losses.extractive, is_stand_in=True)


@functools.lru_cache(maxsize=256)
def prior_of(costs: Costs) -> Prior:
    """Return what hops are expected to take before they were ever called."""
    median_s = {each.name: getattr(costs, each.name) for each in fields(costs)}
    expected = {
        name: Distribution.lognormal(each_s, _P99_OF_MEDIAN * each_s)
        for name, each_s in median_s.items()
    }
    return {
        (EMBEDDING, ONE): expected["embedding"],
        (SEMANTIC, LEAD): expected["semantic"],
        (SEMANTIC, NONE): Distribution.point(0.0),
        (RETRIEVAL, DENSE): expected["retrieval"],
        (RETRIEVAL, LEXICAL): expected["lexical"],
        (PROMPT, ONE): expected["prompt"],
        (GENERATION, RUNG_OF[ModelTier.BEST]): expected["model_first_text"],
        (GENERATION, RUNG_OF[ModelTier.FAST]): expected["fast_first_text"],
        (GENERATION, RUNG_OF[ModelTier.EXTRACTIVE]): expected["extract"],
    }


def outline(node: Node, left_s: float) -> Outline:
    """Walk through the tables from `node` with `left_s` seconds left."""
    promised, dense = node.outlook.met_at(left_s), True
    hops: list[PlannedHop] = []
    while isinstance(node, Stage):
        if not node.is_done(left_s):
            dense = dense and node.step.hop != EMBEDDING
            node = node.without or node.then
            continue
        hops += _planned(node, left_s)
        left_s = max(0.0, left_s - node.median_s)
        node = node.then
    writing = node.decide(left_s)
    tier = tier_of(writing.writer)
    target_s = node.medians_s[node.writers.index(writing.writer)]
    hedge_s = None if writing.hedge_after_s == float("inf") else writing.hedge_after_s
    hops.append(PlannedHop(GENERATION, target_s, writing.give_up_after_s, hedge_s))
    return Outline(Rungs(dense, tier), promised, tuple(hops))


def _planned(stage: Stage, left_s: float) -> Iterator[PlannedHop]:
    if stage.step.rung != NONE:
        hedge_s = None if stage.hedge_s == float("inf") else stage.hedge_s
        yield PlannedHop(stage.step.hop, stage.median_s, stage.limit_s(left_s), hedge_s)


def tier_of(writer: Writer) -> ModelTier:
    """Return the tier that a writer of the tables stands for."""
    return _TIER_OF[writer.rung]


def given_up(rungs: Rungs, best: ModelTier) -> tuple[Degradation, ...]:
    """Return what `rungs` does without from the start, compared with the best way there is."""
    lost = []
    if not rungs.dense:
        lost.append(Degradation(EMBEDDING, NO_TIME))
    if rungs.tier is not best:
        lost.append(Degradation(GENERATION, NO_TIME))
    return tuple(lost)
