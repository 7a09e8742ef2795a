"""Learns what hops take, and keeps the tables of each ladder as fresh as that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from libs.resilience import Distribution, Sketches
from services.orchestrator.planning.ladder import Ladder
from services.orchestrator.planning.tables import Latency, Node, build

# A prior counts as so many calls: enough that one odd call at the start changes no plan.
PRIOR_CALLS = 20.0
# A hop may freeze although it never has: one call in so many is taken to have no end. So a
# step is never given all of the time on the word of the past.
_FROZEN_SHARE = 0.0005

Prior = Mapping[tuple[str, str], Distribution]
"""What a hop takes on a rung, before it was ever called."""


@dataclass(slots=True)
class _Kept:
    node: Node
    made_at_s: float


class Planner:
    """Tables by ladder, made anew when they are older than `refresh_s`.

    To read one takes microseconds, to make one some tens of milliseconds: so nobody makes
    one while a request waits, unless there is none at all.
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

    def learn(self, hop: str, rung: str, band: int, seconds: float, *, is_cut: bool) -> None:
        """Count a call that ended after `seconds`, or was cut then."""
        sketch = self._sketches.of(hop, rung, band)
        if is_cut:
            sketch.add_censored(seconds)
        else:
            sketch.add(seconds)

    def tables(self, ladder: Ladder, prior: Prior, band: int = 0) -> Node:
        """Return the tables of a ladder, as they were last made."""
        kept = self._kept.get((ladder, band))
        if kept is None:
            self._priors[ladder] = prior
            kept = self._made(ladder, band, None)
        return kept.node

    def refresh(self) -> None:
        """Make the tables anew that are too old."""
        now_s = self._clock()
        for (ladder, band), kept in list(self._kept.items()):
            if now_s - kept.made_at_s >= self._refresh_s:
                self._made(ladder, band, kept.node)

    def _made(self, ladder: Ladder, band: int, before: Node | None) -> _Kept:
        latency = self._latency(self._priors[ladder], band)
        made = _Kept(build(ladder, latency, before), self._clock())
        self._kept[ladder, band] = made
        return made

    def _latency(self, prior: Prior, band: int) -> Latency:
        def latency(hop: str, rung: str) -> Distribution:
            expected = prior[hop, rung]
            sketch = self._sketches.find(hop, rung, band)
            if sketch is not None:
                expected = sketch.blended(expected, PRIOR_CALLS)
            return expected.mixed(Distribution.never(), _FROZEN_SHARE)

        return latency
