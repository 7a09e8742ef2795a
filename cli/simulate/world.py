"""The simulated mesh: what each call takes, drawn beforehand from a seed.

Every strategy meets the same draws, so that they differ by what they do and not by luck.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator

import numpy as np
from numpy.typing import NDArray

from cli.simulate.scenario import Change, Part, Scenario
from cli.simulate.timeline import Parked, Timeline

Floats = NDArray[np.float64]

# Draws of a request: its first call, and the second one to the same hop.
FIRST, SECOND = 0, 1
_DRAWS = 2


Draws = Callable[[Part, np.random.Generator, tuple[int, int]], Floats]
"""Draws latencies of a hop, in seconds, in the shape that is asked for."""


class World:
    """Latencies and arrivals of one run of a scenario.

    Attributes:
        arrivals_s: when each request comes.
        patience_s: how long it waits for its first text.
    """

    def __init__(self, scenario: Scenario, seed: int, draws: Draws | None = None) -> None:
        """Draw everything.

        Args:
            scenario: what the mesh is like.
            seed: of the draws.
            draws: latencies of a hop; None takes those of the scenario.
        """
        random = np.random.default_rng(seed)
        count = scenario.requests
        self._scenario = scenario
        gaps_s = random.exponential(1 / scenario.rate_per_s, count)
        self.arrivals_s: list[float] = np.cumsum(gaps_s).tolist()
        least_s = (scenario.shortest_ms or scenario.first_text_ms) / 1e3
        self.patience_s: list[float] = random.uniform(
            least_s, scenario.first_text_ms / 1e3, count
        ).tolist()
        draws = draws or self._lognormal
        self._takes_s = {
            hop.hop: self._drawn(hop, draws, random).tolist() for hop in scenario.parts
        }

    def takes_s(self, hop: str, number: int, draw: int = FIRST) -> float:
        """Return what a call of a request takes, if it is let end."""
        return float(self._takes_s[hop][draw][number])

    def _drawn(self, hop: Part, draws: Draws, random: np.random.Generator) -> Floats:
        takes_s = draws(hop, random, (_DRAWS, self._scenario.requests))
        for change in self._scenario.changes:
            if change.hop == hop.hop:
                self._change(takes_s, change, getattr(hop, "replicas", 1))
        return takes_s

    def _lognormal(self, hop: Part, random: np.random.Generator, shape: tuple[int, int]) -> Floats:
        takes_s = random.lognormal(math.log(hop.median_ms / 1e3), hop.sigma, shape)
        is_straggler = random.random(shape) < self._scenario.straggler_share
        takes_s[is_straggler] *= self._scenario.straggler_factor
        return takes_s

    def _change(self, takes_s: Floats, change: Change, replicas: int) -> None:
        count = self._scenario.requests
        since, until = round(change.since * count), round(change.until * count)
        for draw in range(_DRAWS):
            # Calls go round the backends; a second one goes to another than the first.
            replica = (np.arange(since, until) + draw) % replicas
            is_changed = (replica == change.replica) | (change.replica < 0)
            factor = np.inf if change.hangs else change.factor
            takes_s[draw, since:until][is_changed] *= factor


class Backend:
    """A backend that works on so many calls at once; others wait in line."""

    def __init__(self, timeline: Timeline, slots: int) -> None:
        self._timeline = timeline
        self._free = slots
        self._line: deque[tuple[Parked, float]] = deque()

    def serve(self, takes_s: float, until_s: float) -> Generator[float | Parked, None, bool]:
        """Wait for a slot and keep it for `takes_s`; return whether that ended by `until_s`.

        What is not begun by then is dropped from the line, and what is cut gives its slot
        back at once.
        """
        if self._free:
            self._free -= 1
        else:
            parked = Parked()
            self._line.append((parked, until_s))
            yield parked
        left_s = until_s - self._timeline.now_s
        if left_s <= 0:
            # Woken without a slot: it is too late for one.
            return False
        yield min(takes_s, left_s)
        self._release()
        return takes_s <= left_s

    def _release(self) -> None:
        self._free += 1
        while self._line and self._free:
            parked, until_s = self._line.popleft()
            if until_s > self._timeline.now_s:
                self._free -= 1
            self._timeline.wake(parked)
