"""The course of one run through the tables, and what the mesh learns from it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from libs.errors import OverloadedError
from libs.resilience import Allowance, Limiter, is_background
from libs.resilience.sketches import Sketches
from libs.telemetry.metrics import count_plan, count_shed
from services.orchestrator.hedging import NEVER_S
from services.orchestrator.leading import Lead
from services.orchestrator.ledger import HopRecord
from services.orchestrator.plan import Outline, outline
from services.orchestrator.planning.door import Caller, Door, Pass
from services.orchestrator.planning.ladder import Ladder, price
from services.orchestrator.planning.planner import Planner, Prior
from services.orchestrator.planning.tables import Stage, TextStage, Writing

# What is always skipped is never known to have become fast again: one run in so many takes
# the better way all the same.
_PROBE_EVERY = 20
# Second calls to the fast model, per answer written; the planner's losses keep them below.
_BACKUP_SHARE = 0.20
_BURST = 10.0
_REFRESH_S = 1.0
# Tables made anew in one go, the oldest first: each takes a thread some milliseconds, in which
# the loop has to share the interpreter.
_MOST_TABLES = 8
# What hops took a minute ago counts half.
HALF_LIFE_S = 60.0
MOST_INSIDE = 256
# What counts calls that are turned away names their method.
_METHOD = "hasten.answer.v1.AnswerService/StreamAnswer"
# A follower gives a silent leader up while this share of the best chances is still its own.
_SURE = 0.95


class Courses:
    """What all runs of this replica plan by, and add to.

    Attributes:
        sketches: what hops have cost.
        planner: the tables made from that.
        backups: second calls to the fast model.
        door: lets in what is not answered from the cache.
        lead: how long lookups by meaning go alone.
    """

    def __init__(
        self, sketches: Sketches, clock: Callable[[], float], most_inside: int = MOST_INSIDE
    ) -> None:
        self.sketches = sketches
        self.planner = Planner(sketches, clock)
        self.door = Door(self.planner, Limiter(most_inside), clock, HALF_LIFE_S)
        self.backups = Allowance(_BACKUP_SHARE, _BURST, reserve=_BURST)
        self.lead = Lead()
        self._lesser: Counter[str] = Counter()

    def course(self, ladder: Ladder, prior: Prior) -> Course:
        """Return the course of a new run, by what is under way now."""
        return Course(self, ladder, prior)

    def priced(self, ladder: Ladder) -> Ladder:
        """Return a ladder that counts on no second call which an empty purse would refuse."""
        return ladder.priced(price(self.backups.available, _BURST))

    async def keep_current(self) -> None:
        """Make tables anew as latencies change; runs until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            for due in self.planner.stale(_MOST_TABLES):
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

    def __init__(self, courses: Courses, ladder: Ladder, prior: Prior) -> None:
        self._courses = courses
        self._ladder = ladder
        self._prior = prior
        self._pass: Pass | None = None
        self._look(courses.door.band)

    def _look(self, band: int) -> None:
        """Take up the tables as they are now."""
        self._band = band
        ladder = self._courses.priced(self._ladder)
        self._start = self._node = self._courses.planner.tables(ladder, self._prior, band)

    def enter(self, left_s: float, crowd_loss: float) -> None:
        """Be let in, to be answered by more than what is stored; then `leave` must follow.

        Args:
            left_s: seconds that are left to the first text.
            crowd_loss: how much lesser its chance may be for what else is under way.

        Raises:
            OverloadedError: it is turned away.
        """
        try:
            self._pass = self._courses.door.admit(self._caller(left_s, crowd_loss))
        except OverloadedError as error:
            count_shed(_METHOD, error.metadata["cause"])
            raise
        self._look(self._pass.band)

    def stay(self, left_s: float) -> None:
        """Be counted as inside, as one whose leader did not serve; who is inside stays so."""
        if self._pass is None:
            self._pass = self._courses.door.let_in(self._caller(left_s, 1.0))

    def _caller(self, left_s: float, crowd_loss: float) -> Caller:
        ladder = self._courses.priced(self._ladder)
        return Caller(ladder, self._prior, left_s, crowd_loss, is_background())

    def leave(self) -> None:
        """Make room for others; a second time does nothing."""
        if self._pass is not None:
            self._pass.leave()
            self._pass = None

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

    def lead_s(self, usual_s: float, left_s: float) -> float:
        """Return for how many seconds the lookup by meaning goes alone; see `Lead`."""
        return self._courses.lead.head_start_s(usual_s, left_s)

    def led(self, usual_s: float, lookup: HopRecord) -> None:
        """Note how the lookup by meaning ended, however long after its head start."""
        if lookup.outcome not in ("", "cancelled"):
            is_hit = lookup.outcome == "hit"
            self._courses.lead.learn(usual_s, lookup.elapsed_s(), is_hit=is_hit)

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

    def judge(self, promised: float, took_s: float | None) -> None:
        """Note what came of a plan that no stored answer cut short.

        Args:
            promised: its probability of text in time.
            took_s: seconds from the door to the first text; None if it was not in time.
        """
        count_plan(promised, kept=took_s is not None)
        if self._pass is not None:
            self._pass.learn(took_s)

    def _stage(self, hop: str) -> Stage | None:
        node = self._node
        while isinstance(node, Stage) and node.step.hop != hop:
            node = node.then
        if isinstance(node, TextStage):
            return None
        self._node = node
        return node
