"""What others do with a deadline: the baselines, in the same test-bed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from enum import StrEnum

import numpy as np

from cli.simulate.scenario import Scenario
from cli.simulate.tally import Outcome, Tally
from cli.simulate.timeline import Parked, Process, Timeline
from cli.simulate.world import SECOND, Backend, World

_WINDOW = 2_000
_QUANTILE = 0.95


class Way(StrEnum):
    """How a baseline limits its hops."""

    NO_SPLIT = "no split"
    HARD_SHARES = "hard shares"
    NAIVE_P95 = "naive p95, cut dropped"
    ELAPSED_P95 = "naive p95, cut as elapsed"
    HEDGE_P95 = "fixed hedge at p95"


class Fixed:
    """Takes every request through all hops, under limits that are its way's."""

    def __init__(self, scenario: Scenario, world: World, timeline: Timeline, way: Way) -> None:
        self._world = world
        self._timeline = timeline
        self._way = way
        self._hops = [hop.hop for hop in scenario.parts]
        self._text = scenario.text
        known_s = {hop.hop: hop.median_ms / 1e3 for hop in scenario.parts}
        whole_s = sum(known_s.values())
        self._share = {hop: median_s / whole_s for hop, median_s in known_s.items()}
        self._limit_s = dict.fromkeys(self._hops, math.inf)
        self._seen: dict[str, deque[float]] = {hop: deque(maxlen=_WINDOW) for hop in self._hops}
        self._count = 0
        self._backend = Backend(timeline, scenario.text.slots) if scenario.text.slots else None
        self.tally = Tally([Outcome() for _ in range(scenario.requests)])

    def request(self, number: int) -> Process:
        """Answer one request."""
        outcome = self.tally.outcomes[number]
        started_s = self._timeline.now_s
        end_s = started_s + self._world.patience_s[number]
        self._count += 1
        if self._count % _WINDOW == 0:
            self._adapt()
        for hop in self._hops:
            if not (yield from self._call(hop, number, end_s, outcome)):
                break
        else:
            outcome.in_time = True
        outcome.took_s = self._timeline.now_s - started_s

    def _call(
        self, hop: str, number: int, end_s: float, outcome: Outcome
    ) -> Generator[float | Parked, None, bool]:
        limit_s = min(end_s - self._timeline.now_s, self._limit_of(hop, number))
        takes_s = self._world.takes_s(hop, number)
        if hop == self._text.hop and self._backend is not None:
            return (yield from self._backend.serve(takes_s, self._timeline.now_s + limit_s))
        if self._way is Way.HEDGE_P95:
            takes_s = self._hedged_s(hop, number, takes_s, outcome)
        yield min(takes_s, limit_s)
        is_done = takes_s <= limit_s
        if is_done or self._way is Way.ELAPSED_P95:
            self._seen[hop].append(min(takes_s, limit_s))
        return is_done

    def _limit_of(self, hop: str, number: int) -> float:
        if self._way is Way.HARD_SHARES:
            return float(self._world.patience_s[number] * self._share[hop])
        if self._way in (Way.NAIVE_P95, Way.ELAPSED_P95):
            return self._limit_s[hop]
        return math.inf

    def _hedged_s(self, hop: str, number: int, first_s: float, outcome: Outcome) -> float:
        after_s = self._limit_s[hop]
        if first_s <= after_s:
            return first_s
        outcome.extra += hop == self._text.hop
        outcome.hedges += hop != self._text.hop
        return min(first_s, after_s + self._world.takes_s(hop, number, SECOND))

    def _adapt(self) -> None:
        for hop, seen in self._seen.items():
            if seen:
                self._limit_s[hop] = float(np.quantile(list(seen), _QUANTILE))
