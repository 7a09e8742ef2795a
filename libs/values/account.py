"""Where the time of a run went; times are seconds from the run's arrival."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class PieceKind(IntEnum):
    """What a stretch of time was spent on."""

    UNATTRIBUTED = 0
    QUEUE = 1
    COMPUTE = 2
    NETWORK = 3
    MODEL = 4
    WAITING = 5


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the critical path."""

    hop: str
    kind: PieceKind
    start_s: float
    length_s: float


@dataclass(frozen=True, slots=True)
class HopAccount:
    """What one hop was granted and what it used; `skipped` says why it was not called."""

    hop: str
    start_s: float
    granted_s: float = 0.0
    used_s: float = 0.0
    queue_s: float = 0.0
    compute_s: float = 0.0
    model_s: float = 0.0
    network_s: float = 0.0
    outcome: str = ""
    skipped: str = ""

    @property
    def slack_s(self) -> float:
        """What of the grant was left over, never below zero."""
        return max(0.0, self.granted_s - self.used_s)


@dataclass(frozen=True, slots=True)
class Account:
    """The critical path as a partition of the run, and every hop beside it."""

    total_s: float
    first_text_s: float | None
    pieces: tuple[Piece, ...]
    hops: tuple[HopAccount, ...]

    @property
    def unattributed_s(self) -> float:
        """The part of the total that no hop explains."""
        return sum(p.length_s for p in self.pieces if p.kind is PieceKind.UNATTRIBUTED)
