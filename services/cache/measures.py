"""What the cache's lookups tell its metrics."""

from __future__ import annotations

from libs.telemetry import metrics
from services.cache.decision import Judgement
from services.cache.freshness import Freshness
from services.cache.replica import Replica


def note(layer: str, found: Judgement) -> None:
    """Count a lookup, what kept candidates from serving, and what a hit has saved."""
    for _, reason in found.refused:
        metrics.count_veto(reason)
    entry = found.entry
    if entry is None:
        metrics.count_lookup(layer, found.reason)
        return
    metrics.count_lookup(layer, "stale_hit" if found.stale else "hit")
    saved = metrics.Saved(entry.made_in_s, entry.input_tokens, entry.output_tokens)
    metrics.observe_hit(layer, found.age_s, saved)


def watch(replica: Replica, freshness: Freshness) -> None:
    """Have the size and the lag of what this replica holds read with the metrics."""
    metrics.watch_cache(lambda: len(replica.index), replica.behind_s, freshness.silent_s)
