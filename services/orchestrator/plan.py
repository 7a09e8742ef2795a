"""What a run sets out to do with its time: a pure function of the time and the costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from libs.values import Degradation, ModelTier, Quality
from services.orchestrator.policy import Costs, Policy

NO_TIME = "NO_TIME"
EMBEDDING, RETRIEVAL, GENERATION = "embedding", "retrieval", "generation"
EXACT, SEMANTIC, PROMPT = "cache.exact", "cache.semantic", "cache.prompt"


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
        if self.tier is ModelTier.EXTRACTIVE:
            return Quality.EXTRACTIVE if self.dense else Quality.EXTRACTIVE_LEXICAL
        return Quality.FULL if self.dense else Quality.LEXICAL

    def tail_s(self, costs: Costs) -> float:
        """Return the seconds that must stay once the passages are there, delivery aside."""
        extract = self.tier is ModelTier.EXTRACTIVE
        return costs.prompt + (costs.extract if extract else costs.model_first_text)

    def cost_s(self, costs: Costs) -> float:
        """Return the seconds until the first text, expected."""
        finding_s = costs.lexical
        if self.dense:
            finding_s = costs.embedding + max(costs.semantic, costs.retrieval)
        return costs.exact + finding_s + self.tail_s(costs) + costs.deliver


def choose(patience_s: float, policy: Policy, best: ModelTier) -> Rungs:
    """Return the best way to answer that is expected to fit; the cheapest if none does.

    Args:
        patience_s: seconds until the first text is due.
        policy: whose costs are expected.
        best: the best tier that this deployment has.
    """
    ways = sorted(_ways(best), key=lambda rungs: rungs.quality, reverse=True)
    fitting = (rungs for rungs in ways if rungs.cost_s(policy.costs) <= patience_s)
    return next(fitting, ways[-1])


def given_up(rungs: Rungs, best: ModelTier) -> tuple[Degradation, ...]:
    """Return what `rungs` does without from the start, compared with the best way there is."""
    lost = []
    if not rungs.dense:
        lost.append(Degradation(EMBEDDING, NO_TIME))
    if rungs.tier is not best:
        lost.append(Degradation(GENERATION, NO_TIME))
    return tuple(lost)


def _ways(best: ModelTier) -> Iterator[Rungs]:
    for tier in {best, ModelTier.EXTRACTIVE}:
        yield Rungs(dense=True, tier=tier)
        yield Rungs(dense=False, tier=tier)
