"""The course of one run through the tables, and what the mesh learns from it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from libs.resilience import Allowance
from libs.resilience.sketches import Sketches
from libs.telemetry.metrics import count_plan
from services.orchestrator.hedging import NEVER_S
from services.orchestrator.plan import Outline, outline
from services.orchestrator.planning.ladder import Ladder, price
from services.orchestrator.planning.planner import Planner, Prior
from services.orchestrator.planning.tables import Node, Stage, TextStage, Writing

# What is always skipped is never known to have become fast again: one run in so many takes
# the better way all the same.
_PROBE_EVERY = 20
# Latencies differ by how much is under way at once: below 8 runs, 32, 128, or more.
_BANDS = (8, 32, 128)
# Second calls to the fast model, per answer written; the planner's losses keep them below.
_BACKUP_SHARE = 0.20
_BURST = 10.0
_REFRESH_S = 1.0
# A follower gives a silent leader up while this share of the best chances is still its own.
_SURE = 0.95


class Courses:
    """What all runs of this replica plan by, and add to.

    Attributes:
        sketches: what hops have cost.
        planner: the tables made from that.
        backups: second calls to the fast model.
    """

    def __init__(self, sketches: Sketches, clock: Callable[[], float]) -> None:
        self.sketches = sketches
        self.planner = Planner(sketches, clock)
        self.backups = Allowance(_BACKUP_SHARE, _BURST, reserve=_BURST)
        self._lesser: Counter[str] = Counter()

    def course(self, ladder: Ladder, prior: Prior, under_way: int) -> Course:
        """Return the course of a new run, while `under_way` others are answered."""
        band = sum(under_way >= most for most in _BANDS)
        # A plan does not count on a second call that an empty purse would refuse it.
        ladder = ladder.priced(price(self.backups.available, _BURST))
        return Course(self, self.planner.tables(ladder, prior, band), band)

    async def keep_current(self) -> None:
        """Make tables anew as latencies change; runs until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            for due in self.planner.stale():
                # From copies, in a thread: nobody's answer waits for milliseconds of arithmetic.
                self.planner.adopt(due, await asyncio.to_thread(due.build))

    def probes(self, hop: str) -> bool:
        """Count a lesser choice at a hop; return True if the better one is to be tried."""
        self._lesser[hop] += 1
        return self._lesser[hop] % _PROBE_EVERY == 0


class Course:
    """Where one run is in its tables.

    It is moved on by what happens: each decision is made when it is due, with the time that
    is left by then, so what one step saves is there for the next.
    """

    def __init__(self, courses: Courses, node: Node, band: int) -> None:
        self._courses = courses
        self._start = self._node = node
        self._band = band

    def outline(self, left_s: float) -> Outline:
        """Return what lies ahead with `left_s` seconds left."""
        return outline(self._node, left_s)

    def restart(self) -> None:
        """Begin again: what was under way is gone."""
        self._node = self._start

    def needed_s(self) -> float:
        """Return the seconds that a run needs from its start to be all but sure of a text."""
        return self._start.outlook.needed_s(_SURE)

    def begins(self, hop: str, left_s: float) -> bool:
        """Return whether to call a hop; moves past it if not."""
        stage = self._stage(hop)
        if stage is None or stage.is_done(left_s) or self._courses.probes(hop):
            return True
        self._node = stage.without or stage.then
        return False

    def limit_s(self, hop: str, left_s: float) -> float:
        """Return the hard limit of a hop with `left_s` seconds left."""
        stage = self._stage(hop)
        return left_s if stage is None else max(0.0, stage.limit_s(left_s))

    def hedge_after_s(self, hop: str) -> float:
        """Return when a hop is asked a second time, in seconds from its start; inf is never."""
        stage = self._stage(hop)
        return NEVER_S if stage is None else stage.hedge_s

    def ended(self, hop: str, *, is_done: bool = True) -> None:
        """Move past a hop that has given what it should, or has not."""
        stage = self._stage(hop)
        if stage is not None:
            self._node = stage.then if is_done else stage.without or stage.then

    def text(self, left_s: float) -> Writing:
        """Decide how the text is to be got with `left_s` seconds left."""
        while isinstance(self._node, Stage):
            self._node = self._node.then
        writing = self._node.decide(left_s)
        if writing.writer is not self._node.writers[0] and self._courses.probes("text"):
            return self._node.first(left_s)
        return writing

    def first_writer(self, left_s: float) -> Writing:
        """Return how the best writer is asked, whatever the time."""
        node = self._node
        while isinstance(node, Stage):
            node = node.then
        return node.first(left_s)

    def takes_backup(self) -> bool:
        """Take a second call out of the allowance; return False if there is none left."""
        return self._courses.backups.withdraw()

    def writes(self) -> None:
        """Note that a model is asked for a text: every one adds to the allowance."""
        self._courses.backups.deposit()

    def learn(self, hop: str, rung: str, seconds: float, is_cut: bool) -> None:  # noqa: FBT001 - a callback
        """Note what a call took, or that it was cut then."""
        self._courses.planner.learn(hop, rung, self._band, seconds, is_cut=is_cut)

    def judge(self, promised: float, *, kept: bool) -> None:
        """Note what came of a plan that no stored answer cut short."""
        count_plan(promised, kept=kept)

    def _stage(self, hop: str) -> Stage | None:
        node = self._node
        while isinstance(node, Stage) and node.step.hop != hop:
            node = node.then
        if isinstance(node, TextStage):
            return None
        self._node = node
        return node
