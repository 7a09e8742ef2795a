"""What a run sets out to do: the ladder of its question, and a walk through its tables."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, fields

from libs.resilience.distribution import Distribution
from libs.values import Degradation, ModelTier, PlannedHop, Quality
from services.orchestrator.planning.ladder import Ladder, Step, Writer
from services.orchestrator.planning.planner import Like, Prior
from services.orchestrator.planning.tables import Node, Stage
from services.orchestrator.policy import Costs, Losses, Policy

NO_TIME = "NO_TIME"
# The model reads half of the passages: it says its first word sooner.
FEWER_PASSAGES = "FEWER_PASSAGES"
EMBEDDING, RETRIEVAL, GENERATION = "embedding", "retrieval", "generation"
EXACT, SEMANTIC, PROMPT = "cache.exact", "cache.semantic", "cache.prompt"

# Rungs whose latencies are told apart. The semantic lookup leads alone for a moment, or is
# not made at all; a search has its list by words before the one by words and meaning.
LEAD, NONE, DENSE, LEXICAL, ONE = "lead", "none", "dense", "lexical", "one"
# What writes: the best model, the same over fewer passages, and so on.
BEST, BRIEF, FAST, EXTRACTIVE = "best", "brief", "fast", "extractive"
TIER_OF = {
    BEST: ModelTier.BEST,
    BRIEF: ModelTier.BEST,
    FAST: ModelTier.FAST,
    EXTRACTIVE: ModelTier.EXTRACTIVE,
}
# The best model's time over half of the passages, of its time over all of them, until it is
# known: a part of that time is spent on reading them, the rest on the way and in a queue.
_BRIEF_SHARE = 0.85
# The 99th percentile of the latency targets is three times their median.
_P99_OF_MEDIAN = 3.0

_QUALITIES = {
    (True, BEST): Quality.FULL,
    (False, BEST): Quality.LEXICAL,
    (True, BRIEF): Quality.BRIEF,
    (False, BRIEF): Quality.BRIEF_LEXICAL,
    (True, FAST): Quality.FAST,
    (False, FAST): Quality.FAST_LEXICAL,
    (True, EXTRACTIVE): Quality.EXTRACTIVE,
    (False, EXTRACTIVE): Quality.EXTRACTIVE_LEXICAL,
}


@dataclass(frozen=True, slots=True)
class Rungs:
    """One way to answer.

    Attributes:
        dense: True if passages are found by meaning too, not by words alone.
        writer: what writes the text, and from how much.
    """

    dense: bool
    writer: str

    @property
    def quality(self) -> Quality:
        """The quality of an answer made this way."""
        return _QUALITIES[self.dense, self.writer]

    @property
    def tier(self) -> ModelTier:
        """The tier that writes."""
        return TIER_OF[self.writer]


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
    rungs = _writers(policy, tiers)
    lexical_loss = policy.losses.lexical if _QUALITIES[False, rungs[0]] >= minimum else None
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
    good = [rung for rung in rungs if _QUALITIES[True, rung] >= minimum] or rungs[:1]
    writers = [_writer(rung, rungs[0], policy.losses) for rung in good]
    return Ladder(steps, GENERATION, tuple(writers), name=policy.name)


def _writers(policy: Policy, tiers: tuple[ModelTier, ...]) -> list[str]:
    """Return what can write, best first."""
    return [
        rung
        for rung, tier in TIER_OF.items()
        if tier in tiers and (rung != BRIEF or policy.passages > 1)
    ]


def _writer(rung: str, best: str, losses: Losses) -> Writer:
    if rung == best:
        return Writer(rung)
    if rung == BRIEF:
        return Writer(rung, losses.brief)
    if rung == FAST:
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
        (GENERATION, BEST): expected["model_first_text"],
        (GENERATION, BRIEF): Like(BEST, _BRIEF_SHARE),
        (GENERATION, FAST): expected["fast_first_text"],
        (GENERATION, EXTRACTIVE): expected["extract"],
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
    target_s = node.medians_s[node.writers.index(writing.writer)]
    hedge_s = None if writing.hedge_after_s == float("inf") else writing.hedge_after_s
    hops.append(PlannedHop(GENERATION, target_s, writing.give_up_after_s, hedge_s))
    return Outline(Rungs(dense, writing.writer.rung), promised, tuple(hops))


def _planned(stage: Stage, left_s: float) -> Iterator[PlannedHop]:
    if stage.step.rung != NONE:
        hedge_s = None if stage.hedge_s == float("inf") else stage.hedge_s
        yield PlannedHop(stage.step.hop, stage.median_s, stage.limit_s(left_s), hedge_s)


def given_up(rungs: Rungs, best: ModelTier) -> tuple[Degradation, ...]:
    """Return what `rungs` does without from the start, compared with the best way there is."""
    lost = []
    if not rungs.dense:
        lost.append(Degradation(EMBEDDING, NO_TIME))
    if rungs.writer == BRIEF:
        lost.append(Degradation(RETRIEVAL, FEWER_PASSAGES))
    if rungs.tier is not best:
        lost.append(Degradation(GENERATION, NO_TIME))
    return tuple(lost)
