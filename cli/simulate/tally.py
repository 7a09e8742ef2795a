"""What came of each simulated request, and figures over many of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from services.orchestrator.planning.calibration import Calibration

# Two-sided 95 % of Student's t for 1 to 30 degrees of freedom; beyond, that of the normal.
_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_T95_MANY = 1.960


@dataclass(slots=True)
class Outcome:
    """One request.

    Attributes:
        took_s: seconds to the first text, or to the end without any.
        in_time: True if there was text in time.
        degraded: True if something was given up for it.
        refused: True if it was turned away at the door.
        extra: calls to the backup.
        hedges: second calls to hops that only read.
        promised: predicted probability of text in time; None without a prediction.
    """

    took_s: float = math.inf
    in_time: bool = False
    degraded: bool = False
    refused: bool = False
    extra: int = 0
    hedges: int = 0
    promised: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares and seconds over the requests of one seed.

    Attributes:
        miss: share without text in time; a refusal is one.
        degraded: share of those in time that gave something up.
        extra: calls to the backup per request.
        hedged: second calls of reading hops per request.
        p50_s: median time to the first text, of those that got one in time.
        p99_s: 99th percentile of the same.
        refused: share turned away.
        late: share of those let in that had no text in time.
        told_s: 99th percentile of the time in which those were told.
        goodput_per_s: answers in time per second.
    """

    miss: float
    degraded: float
    extra: float
    hedged: float
    p50_s: float
    p99_s: float
    refused: float
    late: float
    told_s: float
    goodput_per_s: float


@dataclass(slots=True)
class Tally:
    """The outcomes of one seed, in the order in which the requests came."""

    outcomes: list[Outcome]
    calibration: Calibration = field(default_factory=Calibration)

    def calibrate(self) -> None:
        """Compare what was promised with what came."""
        for each in self.outcomes:
            if each.promised is not None:
                self.calibration.add(each.promised, kept=each.in_time)

    def figures(self, window: tuple[float, float], lasted_s: float) -> Figures:
        """Return the figures of a share of the requests, which took `lasted_s` to come."""
        count = len(self.outcomes)
        seen = self.outcomes[round(window[0] * count) : round(window[1] * count)]
        took_s = sorted(each.took_s for each in seen if each.in_time)
        told_s = sorted(each.took_s for each in seen if each.refused)
        return Figures(
            miss=_share(not each.in_time for each in seen),
            degraded=_share(each.in_time and each.degraded for each in seen),
            extra=sum(each.extra for each in seen) / len(seen),
            hedged=sum(each.hedges for each in seen) / len(seen),
            p50_s=_quantile(took_s, 0.5),
            p99_s=_quantile(took_s, 0.99),
            refused=_share(each.refused for each in seen),
            late=_share(not each.in_time for each in seen if not each.refused),
            told_s=_quantile(told_s, 0.99),
            goodput_per_s=len(took_s) / lasted_s,
        )


def mean_and_margin(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of one value a seed, and half the width of its 95 % interval.

    Student's t over the seeds, which are independent of each other.
    """
    mean = statistics.fmean(values)
    degrees = len(values) - 1
    if degrees < 1:
        return mean, math.nan
    t = _T95[degrees - 1] if degrees <= len(_T95) else _T95_MANY
    return mean, t * statistics.stdev(values) / math.sqrt(len(values))


def _share(flags: Iterable[bool]) -> float:
    found = list(flags)
    return sum(found) / len(found) if found else 0.0


def _quantile(rising: Sequence[float], q: float) -> float:
    return rising[min(len(rising) - 1, int(q * len(rising)))] if rising else 0.0
