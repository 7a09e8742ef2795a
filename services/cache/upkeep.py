"""What the cache counts of its own upkeep, for all that is built in one process."""

from __future__ import annotations

from prometheus_client import Counter

from libs.telemetry import names, telemetry_disabled

_DAMAGED = Counter(
    names.METRIC_CACHE_DAMAGED, "Stored answers that could not be read and were set aside."
)
_EVICTED = Counter(
    names.METRIC_CACHE_EVICTED, "Stored answers that had to go because others were worth more."
)
_REPAIRED = Counter(
    names.METRIC_CACHE_INDEX_REPAIRS,
    "Rows of the index that were not as the store has them: missing, or left_over.",
    ["wrong"],
)


def count_damaged() -> None:
    """Count an answer that was set aside."""
    if _ON:
        _DAMAGED.inc()


def count_evicted(count: int) -> None:
    """Count answers that had to go."""
    if _ON and count:
        _EVICTED.inc(count)


def count_repaired(wrong: str, count: int) -> None:
    """Count rows that a scrub has put right."""
    if _ON and count:
        _REPAIRED.labels(wrong).inc(count)


_ON = not telemetry_disabled()
