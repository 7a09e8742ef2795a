"""Small ladders, and what their hops take."""

from collections.abc import Mapping

from hypothesis import strategies as st

from libs.resilience.distribution import Distribution
from services.orchestrator.planning.ladder import Ladder, Step, Writer
from services.orchestrator.planning.tables import Node, build

SEARCH = Step("search", cut_loss=0.02)
RERANK = Step("rerank", skip_loss=0.02, cut_loss=0.02)
EMBED = Step("embed")
BEST = Writer("best")
FAST = Writer("fast", 0.03, 0.01, 0.03, is_backup=True)
STAND_IN = Writer("stand-in", 0.1, 0.1, is_stand_in=True)

FULL = Ladder((EMBED, SEARCH, RERANK), "model", (BEST, FAST))
SAFE = Ladder((EMBED, SEARCH, RERANK), "model", (BEST, FAST, STAND_IN))

MEDIANS_S = {
    ("embed", ""): 0.012,
    ("search", ""): 0.035,
    ("rerank", ""): 0.06,
    ("model", "best"): 0.18,
    ("model", "fast"): 0.08,
    ("model", "stand-in"): 0.008,
}

Latencies = Mapping[tuple[str, str], Distribution]


def straggling(median_s: float, share: float = 0.02, factor: float = 8.0) -> Distribution:
    """Return a lognormal of which some calls take many times as long."""
    usual = Distribution.lognormal(median_s, 2.5 * median_s)
    return usual.mixed(usual.scaled(factor), share)


def usual(factor: float = 1.0) -> dict[tuple[str, str], Distribution]:
    return {key: straggling(factor * median_s) for key, median_s in MEDIANS_S.items()}


def tables(ladder: Ladder, latencies: Latencies | None = None, before: Node | None = None) -> Node:
    known = latencies or usual()
    return build(ladder, lambda hop, rung: known[hop, rung], before)


medians_s = st.floats(0.001, 0.4)
worlds = st.fixed_dictionaries(
    {key: st.builds(straggling, medians_s, st.floats(0, 0.2)) for key in MEDIANS_S}
)
ladders = st.sampled_from([FULL, SAFE])
lefts_s = st.floats(0.0, 5.0)
