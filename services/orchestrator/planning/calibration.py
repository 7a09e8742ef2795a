"""How well the chances that plans promise agree with what came of them."""

from __future__ import annotations

from dataclasses import dataclass, field

_BINS = 10


@dataclass(slots=True)
class Calibration:
    """Predictions and outcomes, pooled by tenths of the predicted probability."""

    _promised: list[float] = field(default_factory=lambda: [0.0] * _BINS)
    _kept: list[int] = field(default_factory=lambda: [0] * _BINS)
    _count: list[int] = field(default_factory=lambda: [0] * _BINS)
    _squares: float = 0.0

    def add(self, promised: float, *, kept: bool) -> None:
        """Count a plan that promised a first text in time with a probability, in [0, 1]."""
        number = min(_BINS - 1, int(promised * _BINS))
        self._promised[number] += promised
        self._kept[number] += kept
        self._count[number] += 1
        self._squares += (promised - kept) ** 2

    def merge(self, other: Calibration) -> None:
        """Count what another has counted."""
        for number in range(_BINS):
            self._promised[number] += other._promised[number]
            self._kept[number] += other._kept[number]
            self._count[number] += other._count[number]
        self._squares += other._squares

    @property
    def brier_score(self) -> float:
        """Mean squared difference of promise and outcome, in [0, 1] (Brier, 1950); 0 of none."""
        count = sum(self._count)
        return self._squares / count if count else 0.0

    def deciles(self) -> list[tuple[int, float, float]]:
        """Return count, mean promise and share kept of each tenth that holds any."""
        return [
            (count, promised / count, kept / count)
            for count, promised, kept in zip(self._count, self._promised, self._kept, strict=True)
            if count
        ]

    def worst_gap(self, least_count: int = 500) -> float:
        """Return the largest difference of promise and outcome over tenths with enough plans."""
        gaps = [abs(said - was) for count, said, was in self.deciles() if count >= least_count]
        return max(gaps, default=0.0)
