"""Keeps the account of a run while it runs: what it waited for, and what that did.

A run is one coroutine, so its critical path is its own timeline: the stretches in which
it waited for a hop, and its own work between them. Nothing has to be guessed from spans
afterwards, and the pieces partition the run by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from libs.values import Account, HopAccount, Piece, PieceKind, Timing

OWN = "orchestrator"

Learn = Callable[[str, str, float, bool], None]
"""Told hop, rung, seconds, and whether the call was cut then."""
# Outcomes of calls that ended by themselves, and of those that would have taken longer.
_WHOLE = ("ok", "hit", "miss")
CUT = ("TIMED_OUT", "NOT_RERANKED", "cancelled", "lost")


class HopRecord:
    """One call of a hop, from its start to its end or its cancellation."""

    __slots__ = (
        *("_clock", "_learn", "ended_s", "granted_s", "hop", "outcome", "rung", "started_s"),
        "timing",
    )

    def __init__(
        self, hop: str, granted_s: float, clock: Callable[[], float], rung: str, learn: Learn
    ) -> None:
        self.hop = hop
        self.rung = rung
        self.granted_s = granted_s
        self.started_s = clock()
        self.ended_s: float | None = None
        self.outcome = ""
        self.timing: Timing | None = None
        self._clock = clock
        self._learn = learn

    def elapsed_s(self) -> float:
        """Return the seconds since the start."""
        return self._clock() - self.started_s

    def left_s(self) -> float:
        """Return the seconds left of what was granted."""
        return max(0.0, self.granted_s - self.elapsed_s())

    def reached(self, rung: str) -> None:
        """Note that the call has come so far, and what it took."""
        self.learn(rung, self.elapsed_s(), is_cut=False)

    def learn(self, rung: str, took_s: float, *, is_cut: bool) -> None:
        """Note what a call of this hop took on a rung, or that it was cut then."""
        self._learn(self.hop, rung, took_s, is_cut)

    def end(self, outcome: str, timing: Timing | None = None) -> None:
        """Note how the call ended; only the first end counts.

        Args:
            outcome: `ok`, `hit`, `miss`, `cancelled`, or a reason of failure.
            timing: how the server spent its part, if it said so.
        """
        if self.ended_s is None:
            self.ended_s = self._clock()
            self.outcome = outcome
            self.timing = timing
            self._teach(outcome)

    def _teach(self, outcome: str) -> None:
        """Let the mesh learn from the call: not from a failure, which is no latency."""
        is_whole = outcome.startswith(_WHOLE)
        if self.rung and self.ended_s is not None and (is_whole or outcome in CUT):
            self._learn(self.hop, self.rung, self.ended_s - self.started_s, not is_whole)

    def used_s(self, now_s: float) -> float:
        """Return the seconds from the start to the end, or to now."""
        return (now_s if self.ended_s is None else self.ended_s) - self.started_s


@dataclass(frozen=True, slots=True)
class _Wait:
    start_s: float
    end_s: float
    record: HopRecord


class Ledger:
    """The account of one run in the making."""

    def __init__(
        self,
        clock: Callable[[], float],
        arrived_s: float | None = None,
        learn: Learn = lambda *_: None,
    ) -> None:
        """Start an account.

        Args:
            clock: seconds that only go forward.
            arrived_s: when the run arrived, in seconds of `clock`; None is now.
            learn: told what calls take.
        """
        self._learn = learn
        self._clock = clock
        self.started_s = clock() if arrived_s is None else arrived_s
        self.first_text_at_s: float | None = None
        self._records: list[HopRecord] = []
        self._skipped: list[HopAccount] = []
        self._waits: list[_Wait] = []

    def elapsed_s(self) -> float:
        """Return the seconds since the run's arrival."""
        return self._clock() - self.started_s

    def start(self, hop: str, granted_s: float, rung: str = "") -> HopRecord:
        """Note that a hop is called with a hard limit of `granted_s`.

        Args:
            hop: what is called.
            granted_s: seconds that it has.
            rung: under which its end is learned from; empty if it is not.
        """
        record = HopRecord(hop, granted_s, self._clock, rung, self._learn)
        self._records.append(record)
        return record

    def skip(self, hop: str, reason: str) -> None:
        """Note that a hop is not called, and why."""
        self._skipped.append(HopAccount(hop, self.elapsed_s(), skipped=reason))

    def saw_text(self) -> None:
        """Note that text was ready for the caller; only the first counts."""
        if self.first_text_at_s is None:
            self.first_text_at_s = self._clock()

    @contextmanager
    def waiting(self, record: HopRecord) -> Iterator[None]:
        """Note that the run waits for one hop while inside."""
        start_s = self._clock()
        try:
            yield
        finally:
            self._waits.append(_Wait(start_s, self._clock(), record))

    def waited(self, since_s: float, record: HopRecord) -> None:
        """Note that the run has waited since `since_s`, and that `record` ended the wait."""
        self._waits.append(_Wait(since_s, self._clock(), record))

    def close(self) -> Account:
        """Return the account of the run up to now."""
        now_s = self._clock()
        first = self.first_text_at_s
        hops = [self._hop(record, now_s) for record in self._records] + self._skipped
        return Account(
            total_s=now_s - self.started_s,
            first_text_s=None if first is None else first - self.started_s,
            pieces=tuple(self._pieces(now_s)),
            hops=tuple(sorted(hops, key=lambda hop: hop.start_s)),
        )

    def _hop(self, record: HopRecord, now_s: float) -> HopAccount:
        used_s = record.used_s(now_s)
        queue_s, compute_s, model_s, network_s = _shares(record.timing, used_s)
        return HopAccount(
            record.hop,
            record.started_s - self.started_s,
            record.granted_s,
            used_s,
            queue_s,
            compute_s,
            model_s,
            network_s,
            record.outcome or "cancelled",
        )

    def _pieces(self, now_s: float) -> Iterator[Piece]:
        at_s = self.started_s
        for wait in self._waits:
            # Waits come in order; one that began before the last ended counts from there.
            start_s = max(wait.start_s, at_s)
            if wait.end_s <= start_s:
                continue
            if start_s > at_s:
                yield self._piece(OWN, PieceKind.COMPUTE, at_s, start_s)
            yield from self._cut(wait.record, start_s, wait.end_s, now_s)
            at_s = wait.end_s
        if now_s > at_s:
            yield self._piece(OWN, PieceKind.COMPUTE, at_s, now_s)

    def _cut(
        self, record: HopRecord, start_s: float, end_s: float, now_s: float
    ) -> Iterator[Piece]:
        """Cut a wait by what the hop's server said of its time; else it is plain waiting."""
        if record.timing is None:
            yield self._piece(record.hop, PieceKind.WAITING, start_s, end_s)
            return
        used_s = record.used_s(now_s)
        shares = _shares(record.timing, used_s)
        kinds = (PieceKind.QUEUE, PieceKind.COMPUTE, PieceKind.MODEL, PieceKind.NETWORK)
        scale = (end_s - start_s) / used_s if used_s > 0 else 0.0
        ends = start_s
        for kind, share_s in zip(kinds, shares, strict=True):
            begins, ends = ends, ends + share_s * scale
            if kind is PieceKind.NETWORK:
                ends = end_s  # takes what rounding left
            if ends > begins:
                yield self._piece(record.hop, kind, begins, ends)

    def _piece(self, hop: str, kind: PieceKind, start_s: float, end_s: float) -> Piece:
        return Piece(hop, kind, start_s - self.started_s, end_s - start_s)


def _shares(timing: Timing | None, used_s: float) -> tuple[float, float, float, float]:
    """Return queue, compute, model and network seconds that sum to `used_s`.

    What the server counted twice (a queue that overlaps work, clock noise) is scaled
    down, so that no part is ever longer than the whole.
    """
    if timing is None:
        return 0.0, 0.0, 0.0, 0.0
    told_s = timing.queue_s + timing.compute_s + timing.model_s
    scale = min(1.0, used_s / told_s) if told_s > 0 else 0.0
    queue_s, compute_s, model_s = (
        part * scale for part in (timing.queue_s, timing.compute_s, timing.model_s)
    )
    return queue_s, compute_s, model_s, max(0.0, used_s - queue_s - compute_s - model_s)
