"""Learns what hops take, and keeps the tables of each ladder as fresh as that."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from libs.resilience.distribution import Distribution
from libs.resilience.sketches import Sketches
from services.orchestrator.planning.ladder import Ladder
from services.orchestrator.planning.tables import Node, build

# A prior counts as so many calls: enough that one odd call at the start changes no plan.
PRIOR_CALLS = 20.0
# A hop may freeze although it never has: one call in so many is taken to have no end. So a
# step is never given all of the time on the word of the past.
_FROZEN_SHARE = 0.0005


@dataclass(frozen=True, slots=True)
class Like:
    """What a hop takes on a rung that it was never called on: a share of what another takes.

    Attributes:
        rung: the other; it stands before this one.
        share: of what it takes.
    """

    rung: str
    share: float


Latencies = Mapping[tuple[str, str], Distribution]
"""What a hop takes on a rung."""

Prior = Mapping[tuple[str, str], Distribution | Like]
"""The same, before it was ever called."""


@dataclass(slots=True)
class _Kept:
    node: Node
    made_at_s: float
    is_used: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Due:
    """Tables that are to be made, with copies of all that it takes: any thread may do it.

    Attributes:
        ladder: what the tables are of.
        band: the load that they are for.
        latencies: what each hop is expected to take on each rung.
        before: the tables of before; None if there are none.
    """

    ladder: Ladder
    band: int
    latencies: Latencies
    before: Node | None

    def build(self) -> Node:
        """Return the tables; takes some milliseconds."""
        return build(self.ladder, lambda hop, rung: self.latencies[hop, rung], self.before)


class Planner:
    """Tables by ladder and load, made anew when they are older than `refresh_s`.

    To read one takes microseconds, to make one some milliseconds: so nobody makes one while
    a request waits, unless there is none at all. `refresh` makes them here and now. An event
    loop hands what is `stale` to a thread and `adopt`s what comes back.
    """

    def __init__(
        self,
        sketches: Sketches,
        clock: Callable[[], float],
        *,
        refresh_s: float = 1.0,
    ) -> None:
        """Plan by what `sketches` hold.

        Args:
            sketches: what was learned; written to by `learn` alone.
            clock: seconds that only go forward.
            refresh_s: how old tables may be.
        """
        self._sketches = sketches
        self._clock = clock
        self._refresh_s = refresh_s
        self._kept: dict[tuple[Ladder, int], _Kept] = {}
        self._priors: dict[Ladder, Prior] = {}
        self._next_s = -math.inf

    def learn(self, hop: str, rung: str, band: int, seconds: float, *, is_cut: bool) -> None:
        """Count a call that ended after `seconds`, or was cut then."""
        sketch = self._sketches.of(hop, rung, band)
        if is_cut:
            sketch.add_censored(seconds)
        else:
            sketch.add(seconds)

    def tables(self, ladder: Ladder, prior: Prior, band: int = 0) -> Node:
        """Return the tables of a ladder, as they were last made.

        Those of a load that is new are the nearest load's, until `refresh` has made them.

        Args:
            ladder: the steps and the writers.
            prior: what they take, before anything is known; of the first call it counts.
            band: the load, counted in any way that the caller keeps to.
        """
        kept = self._kept.get((ladder, band))
        if kept is not None:
            kept.is_used = True
            return kept.node
        self._priors.setdefault(ladder, prior)
        near = self._nearest(ladder, band)
        if near is not None:
            self._kept[ladder, band] = _Kept(near, -math.inf, is_used=True)
            return near
        due = self._due(ladder, band, None)
        node = due.build()
        self.adopt(due, node)
        return node

    def peek(self, ladder: Ladder, band: int) -> Node | None:
        """Return tables as they were last made, and leave them to age; None if there are none."""
        kept = self._kept.get((ladder, band))
        return None if kept is None else kept.node

    def refresh(self) -> None:
        """Make the tables anew that are too old."""
        if self._clock() >= self._next_s:
            for due in self.stale():
                self.adopt(due, due.build())

    def stale(self, most: int | None = None) -> list[Due]:
        """Return what is old, and was looked at since; what is not adopted is returned again.

        Args:
            most: how much of it; the oldest first. None is all.
        """
        now_s = self._clock()
        self._next_s = now_s + self._refresh_s
        old = [
            (kept.made_at_s, ladder, band, kept.node)
            for (ladder, band), kept in self._kept.items()
            if kept.is_used and now_s - kept.made_at_s >= self._refresh_s
        ]
        old.sort(key=lambda each: each[0])
        return [self._due(ladder, band, node) for _, ladder, band, node in old[:most]]

    def adopt(self, due: Due, node: Node) -> None:
        """Go by new tables from now on."""
        self._kept[due.ladder, due.band] = _Kept(node, self._clock())

    def _nearest(self, ladder: Ladder, band: int) -> Node | None:
        """Return the tables of the nearest load; of two, those of the higher one."""
        bands = (each for known, each in self._kept if known == ladder)
        near = min(bands, key=lambda each: (abs(each - band), -each), default=None)
        return None if near is None else self._kept[ladder, near].node

    def _due(self, ladder: Ladder, band: int, before: Node | None) -> Due:
        prior = self._priors[ladder]
        latencies: dict[tuple[str, str], Distribution] = {}
        for (hop, rung), each in prior.items():
            known = latencies[hop, each.rung].scaled(each.share) if isinstance(each, Like) else each
            latencies[hop, rung] = self._expected((hop, rung), known, band)
        return Due(ladder, band, latencies, before)

    def _expected(self, key: tuple[str, str], prior: Distribution, band: int) -> Distribution:
        known = prior
        # A load that is new is expected to be as the nearest one, until it has calls of its own.
        for sketch in self._sketches.nearby(*key, band):
            known = sketch.blended(known, PRIOR_CALLS)
        return known.mixed(Distribution.never(), _FROZEN_SHARE)
