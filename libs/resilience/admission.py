"""Whether a call is let in: what a server can still do well, and nothing more.

Three reasons to refuse, in this order, each with `RetryInfo` and the same error:

- `queue`: calls have been waiting for too long on their way in (`codel.py`);
- `time`: not even the fastest recent call would have made it in the time that is left;
- `limit`: as much is in flight as is good (`limiter.py`).

What is refused costs microseconds; what is let in and not finished costs everybody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from libs.errors import OverloadedError
from libs.resilience.codel import Codel
from libs.resilience.limiter import Limiter, Pace

# Background calls fill no more than this share of a server: the rest is for callers who
# wait, whenever they come.
BACKGROUND_SHARE = 0.6
_RETRY_AFTER_S = 0.1
# A person's call is not shed for having waited less than this share of its time.
_FELT_SHARE = 0.02
# The fastest call is that of the last one to two windows. Older ones are forgotten, so that
# a server that refuses everybody lets someone in again and sees whether it is faster now.
_WINDOW_S = 5.0
_ENOUGH_COUNT = 20

Cost = Callable[[Any], int]


def _one(_: Any) -> int:
    return 1


class Fastest:
    """The least time that recent calls of one method took to their first response."""

    __slots__ = ("_before", "_count", "_ends_s", "_least_s")

    def __init__(self) -> None:
        self._ends_s = -math.inf
        self._least_s, self._count = math.inf, 0
        self._before = (math.inf, 0)

    def note(self, took_s: float, now_s: float) -> None:
        """Take one call into account."""
        if now_s >= self._ends_s:
            self._turn(now_s)
        self._count += 1
        self._least_s = min(self._least_s, took_s)

    def floor_s(self, now_s: float) -> float:
        """Return the seconds below which none was; 0 while too few were seen to know."""
        if now_s >= self._ends_s:
            self._turn(now_s)
        least_s, count = self._before
        if self._count + count < _ENOUGH_COUNT:
            return 0.0
        return min(self._least_s, least_s)

    def _turn(self, now_s: float) -> None:
        is_next = now_s < self._ends_s + _WINDOW_S
        self._before = (self._least_s, self._count) if is_next else (math.inf, 0)
        self._least_s, self._count = math.inf, 0
        self._ends_s = now_s + _WINDOW_S


class Admission:
    """Decides for all calls of one server; hands out a gate for each method."""

    def __init__(
        self,
        limiter: Limiter,
        *,
        codel: Codel | None = None,
        judges_time: bool = True,
        background_share: float = BACKGROUND_SHARE,
        watches: Collection[str] = (),
        costs: Mapping[str, Cost] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Let in what `limiter` allows.

        Args:
            limiter: the limit on what is in flight.
            codel: what judges waiting; None lets calls wait for as long as they do.
            judges_time: False lets calls in that have too little time left.
            background_share: part of the limit that background calls may fill, in (0, 1].
            watches: methods, `package.Service/Method`, whose calls last as long as their
                caller likes. They do no work to speak of: they are counted for
                themselves, up to the limiter's ceiling, and nothing is learned of them.
            costs: what a request of a method costs, in units of at least 1; 1 by default.
            clock: seconds that only go forward.
        """
        self.limiter = limiter
        self.codel = codel
        self.clock = clock
        self.judges_time = judges_time
        self.background_share = background_share
        self.idle_since_s = -math.inf
        self._watching = Limiter(limiter.limit, adapts=False)
        self._watches = frozenset(watches)
        self._costs = dict(costs or {})

    def gate(self, method: str) -> Gate:
        """Return the gate of a method; ask once a method, it remembers its calls."""
        if method in self._watches:
            return _WatchGate(self, method, self._watching)
        return Gate(self, method, self._costs.get(method, _one))

    def load(self) -> float:
        """Return how full the server is, in [0, 1]; a little more just after a fall."""
        return self.limiter.in_flight / self.limiter.limit


class Gate:
    """Lets calls of one method in."""

    def __init__(self, admission: Admission, method: str, cost: Cost = _one) -> None:
        self._admission = admission
        self._method = method
        self._cost = cost
        self._clock = admission.clock
        self.limiter = admission.limiter
        self.pace = Pace()
        self.fastest = Fastest()

    def admit(
        self, request: Any, *, queue_s: float, remaining_s: float | None, background: bool = False
    ) -> Ticket:
        """Let a call in; whoever is let in must leave again.

        Args:
            request: what the method's cost is told from.
            queue_s: seconds that the call waited on its way here.
            remaining_s: seconds that its caller still waits; None if it set no deadline.
            background: True for what is not waited for by a person.

        Raises:
            OverloadedError: it is refused; `cause` in the metadata says why.
        """
        admission, now_s, found = self._admission, self._clock(), self.limiter.in_flight
        codel = admission.codel
        if codel:
            # Sent after the last one had left, it has not waited for work of this server.
            queued_here = found or now_s - admission.idle_since_s < queue_s
            is_shed = codel.sheds(queue_s if queued_here else 0.0, now_s, background=background)
            if is_shed and (background or _is_felt(queue_s, remaining_s)):
                raise self._late(queue_s)
        if remaining_s is not None and admission.judges_time:
            needed_s = self.fastest.floor_s(now_s)
            if remaining_s < needed_s:
                raise self._hopeless(needed_s, remaining_s)
        share = admission.background_share if background else 1.0
        cost = self.limiter.acquire(self._cost(request), share)
        if not cost:
            raise _full(found, self.limiter.limit, share)
        return Ticket(self, cost, found, now_s)

    def release(self, cost: int, now_s: float) -> None:
        """Give a call's room back."""
        self.limiter.release(cost)
        if not self.limiter.in_flight:
            self._admission.idle_since_s = now_s

    def _late(self, queue_s: float) -> OverloadedError:
        waited_ms = f"{queue_s * 1e3:.1f}"
        return _refusal(f"{self._method}: waited {waited_ms} ms", "queue", waited_ms=waited_ms)

    def _hopeless(self, needed_s: float, had_s: float) -> OverloadedError:
        needed_ms, had_ms = f"{needed_s * 1e3:.1f}", f"{had_s * 1e3:.1f}"
        message = f"{self._method}: {had_ms} ms left, {needed_ms} ms needed"
        return _refusal(message, "time", hop=self._method, needed_ms=needed_ms, had_ms=had_ms)


class _WatchGate(Gate):
    """Lets watchers in: counted, not judged."""

    def __init__(self, admission: Admission, method: str, watching: Limiter) -> None:
        super().__init__(admission, method)
        self.limiter = watching

    def admit(
        self, request: Any, *, queue_s: float, remaining_s: float | None, background: bool = False
    ) -> Ticket:
        found = self.limiter.in_flight
        if not self.limiter.acquire():
            raise _full(found, self.limiter.limit, 1.0)
        return _WatchTicket(self, 1, found, 0.0)


class Ticket:
    """One call that was let in."""

    __slots__ = ("_cost", "_found", "_gate", "_is_answered", "_started_s")

    def __init__(self, gate: Gate, cost: int, found: int, started_s: float) -> None:
        self._gate = gate
        self._cost = cost
        self._found = found
        self._started_s = started_s
        self._is_answered = False

    def answered(self) -> None:
        """Note a response; the first one tells how fast the server is."""
        if self._is_answered:
            return
        self._is_answered = True
        gate = self._gate
        now_s = gate._clock()  # noqa: SLF001 - a gate and its tickets are one thing
        took_s = now_s - self._started_s
        gate.fastest.note(took_s, now_s)
        gate.limiter.learn(gate.pace, took_s, found=self._found, now_s=now_s)

    def leave(self, *, cut: bool = False) -> None:
        """Give the room back; `cut` says that the call's caller or its time ended it.

        A call that failed by itself without a response says nothing about speed.
        """
        gate = self._gate
        now_s = gate._clock()  # noqa: SLF001 - as above
        gate.release(self._cost, now_s)
        if cut and not self._is_answered:
            took_s = now_s - self._started_s
            gate.limiter.learn(gate.pace, took_s, found=self._found, now_s=now_s, cut=True)


class _WatchTicket(Ticket):
    """A watcher's: nothing is learned from it."""

    __slots__ = ()

    def answered(self) -> None:
        return None

    def leave(self, *, cut: bool = False) -> None:
        self._gate.limiter.release(self._cost)


def _is_felt(waited_s: float, remaining_s: float | None) -> bool:
    """Return whether a wait is worth a refusal to one who has so much time left after it.

    A burst of callers who wait for seconds is better served late by some milliseconds than
    turned away.
    """
    return remaining_s is None or waited_s > _FELT_SHARE * (waited_s + remaining_s)


def open_admission(max_concurrency: int) -> Admission:
    """Return an admission that knows one reason only: as many calls as there may be."""
    return Admission(Limiter(max_concurrency, adapts=False), judges_time=False)


def _full(in_flight: int, limit: int, share: float) -> OverloadedError:
    most = math.floor(limit * share) or 1
    return _refusal(f"{in_flight} in flight, at most {most}", "limit", limit=most)


def _refusal(message: str, cause: str, **metadata: object) -> OverloadedError:
    return OverloadedError(message, retry_after_s=_RETRY_AFTER_S, cause=cause, **metadata)
