"""Two rankings made one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

# Cormack, Clarke & Büttcher, "Reciprocal rank fusion outperforms Condorcet", SIGIR 2009.
RANK_CONSTANT = 60


def fused(rankings: Iterable[Sequence[tuple[int, float]]], limit: int) -> list[tuple[int, float]]:
    """Return the ids of all rankings by reciprocal rank, best first.

    Args:
        rankings: ids with scores, best first; the scores need not compare.
        limit: how many at most.
    """
    totals: dict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, (each, _) in enumerate(ranking, start=1):
            totals[each] += 1 / (RANK_CONSTANT + rank)
    return sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
