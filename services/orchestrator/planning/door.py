"""Who is let in before anything is spent: callers whose chance is good, and no more than fit.

A caller who is all but sure of a text in time comes in, however much is under way: what it
finds may be a lesser rung, and that is the ladder's business. Where the chance is at stake,
two things are asked, and either turns the caller away for the sake of those inside:

- Is as much under way as is good? (`libs.resilience.limiter`: it sinks while first texts take
  longer than they do on a quiet mesh.)
- Do first texts take longer than on a quiet mesh, and is the chance that the tables of this
  load give surely lesser than that with less under way? *Surely*, as few calls prove nothing:
  the upper end of what it may be now is held against the lower end of what it was then.

The second question alone would turn callers away for noise: of forty load bands the best is
always a little better than this one. The first one alone does not know who can wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from libs.errors import OverloadedError
from libs.resilience.admission import BACKGROUND_SHARE
from libs.resilience.limiter import Limiter, Pace
from services.orchestrator.planning.ladder import Ladder
from services.orchestrator.planning.planner import Planner, Prior
from services.orchestrator.planning.tables import Node, Stage, TextStage

# What hops take is learned by load: one band for each 15 % more that is under way.
_BAND_GROWTH = 1.15
# How much longer than on a quiet mesh first texts may take. A server leaves it at half as long
# again; here each is due at a time, and what half as long again does to the last in a hundred
# is late. In the test-bed's overload this is the largest with less than 1 % late.
_TOLERANCE = 1.2
# Standard errors by which a chance may be off what its band's answers say.
_Z = 1.0
# What is always turned away is never known to have become better: one in so many is let in.
_PROBE_EVERY = 10
# Background work stays outside for so long after somebody who waits was turned away.
_BEHIND_S = 1.0
# Tables are made anew about once a second: nothing is otherwise before.
_RETRY_AFTER_S = 1.0
_LIMIT, _CROWD, _BEHIND = "limit", "crowd", "background"


def band_of(under_way: int) -> int:
    """Return the load band of so many answers under way."""
    return round(math.log(1 + under_way, _BAND_GROWTH))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks to be let in.

    Attributes:
        ladder: the ways to a text.
        prior: what they take, before anything is known.
        left_s: seconds that are left to the first text.
        crowd_loss: how much lesser its chance may be than on a quieter mesh, in [0, 1].
        is_background: True if nobody waits for the answer.
    """

    ladder: Ladder
    prior: Prior
    left_s: float
    crowd_loss: float
    is_background: bool = False


@dataclass(slots=True)
class _Seen:
    """Answers of one load band, faded to a moment."""

    count: float = 0.0
    at_s: float = 0.0

    def faded(self, now_s: float, half_life_s: float) -> float:
        return float(self.count * 0.5 ** ((now_s - self.at_s) / half_life_s))


class Pass:
    """One answer that was let in.

    Attributes:
        band: the load band that it came in at.
        pace: of who was to write.
    """

    __slots__ = ("_door", "_found", "_is_inside", "_since_s", "band", "pace")

    def __init__(self, door: Door, pace: Pace, found: int, since_s: float) -> None:
        self.band = band_of(found)
        self._door = door
        self.pace = pace
        self._found = found
        self._since_s = since_s
        self._is_inside = True

    def learn(self, took_s: float | None) -> None:
        """Note how long the first text took from here; None if there was none in time."""
        door, now_s = self._door, self._door.clock()
        is_cut = took_s is None
        spent_s = now_s - self._since_s if took_s is None else took_s
        door.limiter.learn(self.pace, spent_s, found=self._found, now_s=now_s, cut=is_cut)
        door.saw(self.band)

    def leave(self) -> None:
        """Give the room back; a second time does nothing."""
        if self._is_inside:
            self._is_inside = False
            self._door.limiter.release(1)


class Door:
    """Lets answers in, and learns how much is good.

    Attributes:
        limiter: counts what is inside.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        planner: Planner,
        limiter: Limiter,
        clock: Callable[[], float],
        half_life_s: float,
    ) -> None:
        """Let everybody in until something was learned.

        Args:
            planner: whose tables tell the chances.
            limiter: how much may be inside.
            clock: seconds that only go forward.
            half_life_s: in which what was seen counts half; that of the sketches.
        """
        self.limiter = limiter
        self.clock = clock
        self._planner = planner
        self._half_life_s = half_life_s
        self._paces: dict[str, Pace] = {}
        self._seen: dict[int, _Seen] = {}
        self._crowded_count = 0
        self._refused_at_s = -math.inf

    @property
    def band(self) -> int:
        """The load band of what is inside."""
        return band_of(self.limiter.in_flight)

    def admit(self, caller: Caller) -> Pass:
        """Let an answer in; whoever is let in must leave again.

        Raises:
            OverloadedError: it is turned away; `cause` says why, and `hop`, `needed_ms` and
                `had_ms` what its time would have had to be.
        """
        node = self._planner.tables(caller.ladder, caller.prior, self.band)
        let_in = self._pass(caller, node)
        cause = self._cause(caller, node, let_in.pace)
        if cause:
            if not caller.is_background:
                self._refused_at_s = self.clock()
            raise self._refusal(cause, caller, node)
        return let_in

    def let_in(self, caller: Caller) -> Pass:
        """Let an answer in without asking: one that has been inside, or has cost already."""
        node = self._planner.tables(caller.ladder, caller.prior, self.band)
        let_in = self._pass(caller, node)
        self.limiter.force()
        return let_in

    def saw(self, band: int) -> None:
        """Count an answer of a band: how long its first text took is known."""
        now_s, seen = self.clock(), self._seen.setdefault(band, _Seen())
        seen.count, seen.at_s = seen.faded(now_s, self._half_life_s) + 1, now_s

    def _pass(self, caller: Caller, node: Node) -> Pass:
        # Each writer has a pace of its own: passages take no model's time.
        rung = _writer(node, caller.left_s)
        pace = self._paces.get(rung) or self._paces.setdefault(rung, Pace(_TOLERANCE))
        return Pass(self, pace, self.limiter.in_flight, self.clock())

    def _cause(self, caller: Caller, node: Node, pace: Pace) -> str:
        """Return why a caller is turned away; empty if it is in."""
        now_s = self.clock()
        if caller.is_background:
            # It can wait for ever, so its own chance says nothing: it goes by the others'.
            if now_s < self._refused_at_s + _BEHIND_S:
                return _BEHIND
            return "" if self.limiter.acquire(1, BACKGROUND_SHARE) else _LIMIT
        promised = node.outlook.met_at(caller.left_s)
        if promised >= 1 - caller.crowd_loss:
            self.limiter.force()
            return ""
        is_crowded = pace.gradient() < 1 and self._is_crowded(caller, promised, now_s)
        if is_crowded and not self._is_probe():
            return _CROWD
        return "" if self.limiter.acquire() else _LIMIT

    def _is_crowded(self, caller: Caller, promised: float, now_s: float) -> bool:
        at_most = promised + self._margin(promised, self.band, now_s)
        _, at_least = self._quietest(caller, now_s)
        return at_most < at_least - caller.crowd_loss

    def _quietest(self, caller: Caller, now_s: float) -> tuple[Node | None, float]:
        """Return the tables of the load below with the surest chance, and that at the least."""
        band, best_band = self.band, self.band
        best: tuple[Node | None, float] = (None, 0.0)
        for each in self._seen:
            node = self._planner.peek(caller.ladder, each) if each < band else None
            if node is not None:
                met = node.outlook.met_at(caller.left_s)
                at_least = met - self._margin(met, each, now_s)
                if at_least > best[1]:
                    best, best_band = (node, at_least), each
        if best[0] is not None:
            # What is gone by is kept current.
            self._planner.tables(caller.ladder, caller.prior, best_band)
        return best

    def _margin(self, met: float, band: int, now_s: float) -> float:
        """Return how far a chance may be off what so many answers of its band say."""
        seen = self._seen.get(band)
        count = seen.faded(now_s, self._half_life_s) if seen else 0.0
        # With one more of either outcome: nothing is sure because it was always so.
        share = (met * count + 1) / (count + 2)
        return _Z * math.sqrt(share * (1 - share) / (count + 1))

    def _is_probe(self) -> bool:
        """Return whether to let somebody in who would be turned away, to learn from it."""
        self._crowded_count += 1
        return self._crowded_count % _PROBE_EVERY == 0

    def _refusal(self, cause: str, caller: Caller, node: Node) -> OverloadedError:
        quiet, _ = self._quietest(caller, self.clock())
        hop = _slowed(node, quiet)
        # With so much it would be let in.
        needed_s = node.outlook.reaches_s(1 - caller.crowd_loss)
        needed_ms, had_ms = f"{needed_s * 1e3:.1f}", f"{caller.left_s * 1e3:.1f}"
        return OverloadedError(
            f"{hop}: {had_ms} ms left, {needed_ms} ms needed while so much is under way",
            retry_after_s=_RETRY_AFTER_S,
            cause=cause,
            hop=hop,
            needed_ms=needed_ms,
            had_ms=had_ms,
        )


def _text_stage(node: Node) -> TextStage:
    while isinstance(node, Stage):
        node = node.then
    return node


def _writer(node: Node, left_s: float) -> str:
    """Return the rung of who would be asked to write."""
    return _text_stage(node).decide(left_s).writer.rung


def _slowed(now: Node, quiet: Node | None) -> str:
    """Return the hop whose median has grown most; without tables to compare with, the longest."""
    before = {} if quiet is None else dict(_medians_s(quiet))
    grown = {hop: median_s - before.get(hop, 0.0) for hop, median_s in _medians_s(now)}
    return max(grown, key=lambda hop: grown[hop])


def _medians_s(node: Node) -> Iterator[tuple[str, float]]:
    while isinstance(node, Stage):
        yield node.step.hop, node.median_s
        node = node.then
    yield node.hop, node.medians_s[0]
