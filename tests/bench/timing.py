"""Times of several ways to do a thing, taken in turns so that noise meets all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

Way = Callable[[], Awaitable[float | None]]
"""Does a thing once; returns the seconds that count, or None if all of its time does."""

# On a machine that is busy with something else, a lookup may take longer than it is waited for.
_LEAST_SHARE = 0.8


class OtherWayError(Exception):
    """A thing was done in another way than the one whose time is taken."""


@dataclass(frozen=True, slots=True)
class Turns:
    """How often each way is taken: some times before it counts, then some times a round."""

    warm_up: int = 20
    rounds: int = 20
    per_round: int = 15


async def in_turns(ways: Mapping[str, Way], turns: Turns | None = None) -> dict[str, list[float]]:
    """Return the times of each way, in ms.

    Raises:
        OtherWayError: too many of a way's calls went another way.
    """
    turns = turns or Turns()
    for way in ways.values():
        await times_ms(way, turns.warm_up)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns.rounds):
        for name, way in ways.items():
            found[name] += await times_ms(way, turns.per_round)
    for name, each in found.items():
        if len(each) < _LEAST_SHARE * turns.rounds * turns.per_round:
            raise OtherWayError(f"{name}: only {len(each)} calls went the way that is meant")
    return found


async def medians_ms(ways: Mapping[str, Way], turns: Turns | None = None) -> dict[str, float]:
    """Return the median of each way, in ms."""
    found = await in_turns(ways, turns)
    return {name: statistics.median(each) for name, each in found.items()}


async def times_ms(way: Way, count: int) -> list[float]:
    """Take a way so many times, and return what each took that went this way."""
    found = []
    for _ in range(count):
        started_s = time.perf_counter()
        try:
            said_s = await way()
        except OtherWayError:
            continue
        took_s = time.perf_counter() - started_s if said_s is None else said_s
        found.append(took_s * 1e3)
    return found


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile, 1 to 99, of two values or more."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
