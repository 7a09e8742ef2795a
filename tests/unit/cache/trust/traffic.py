"""Traffic of semantic hits whose wrong rate is known, and a judge that sees some of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from services.cache.trust.looks import Hit, Look, Source
from services.cache.trust.regions import REGION_COUNT
from services.cache.trust.trust import Traffic, Trust

ACME = Traffic("acme", "interactive", 0.01)
TARGET = 0.8
# Of every hundred hits five are looked at, while nothing is wrong.
SHARE = 0.05


@dataclass
class Tally:
    """What was asked, served and wrong, in one stretch of traffic."""

    candidates: int = 0
    served: int = 0
    wrong: int = 0
    looks: int = 0
    wrong_at: list[int] = field(default_factory=list)

    @property
    def wrong_share(self) -> float:
        return self.wrong / max(1, self.served)

    def settled_after(self, allowance: float, over: int = 500) -> int:
        """Return after how many hits no `over` in a row hold more wrong ones than allowed."""
        most = int(allowance * over)
        pairs = zip(self.wrong_at, self.wrong_at[most:], strict=False)
        return max((last for first, last in pairs if last - first < over), default=0)


WrongRate = Callable[[int, float], float]


class Simulation:
    """Candidates come one by one; what trust lets through is served, some is judged."""

    def __init__(self, trust: Trust, seed: int, *, moves: bool = True) -> None:
        self._trust = trust
        self._random = random.Random(seed)  # noqa: S311 - no secret: it makes traffic
        self._moves = moves
        self._now_s = 1_000_000.0

    def run(self, count: int, wrong_rate: WrongRate, watched: int | None = None) -> Tally:
        """Return what came of `count` candidates, or of those in one region among them."""
        tally, elsewhere = Tally(), Tally()
        for _ in range(count):
            region = self._random.randrange(REGION_COUNT)
            counted = tally if watched in (None, region) else elsewhere
            self._candidate(counted, wrong_rate, region)
        return tally

    def _candidate(self, tally: Tally, wrong_rate: WrongRate, region: int) -> None:
        draw = self._random.random
        self._now_s += 0.1
        # Most probabilities are near certainty, as those of natural questions are.
        probability = TARGET + (1 - TARGET) * draw() ** 0.5
        wrong = draw() < wrong_rate(region, probability)
        tally.candidates += 1
        served = not self._moves or probability >= self._trust.target(ACME, region)
        if served:
            tally.served += 1
            tally.wrong += wrong
            if wrong:
                tally.wrong_at.append(tally.served)
        share, base = self._trust.shares(ACME, region, SHARE, served=served)
        if draw() < share:
            tally.looks += 1
            hit = Hit("acme", "interactive", 0.01, region, probability, share, base, served)
            self._trust.take(Look(hit, wrong, Source.JUDGE, self._now_s))


def steady(rate: float) -> WrongRate:
    """Return a rate that is the same everywhere."""
    return lambda _region, _probability: rate


def only_in(region: int, rate: float, elsewhere: float) -> WrongRate:
    """Return a rate that is another one in one region."""
    return lambda at, _probability: rate if at == region else elsewhere


def below(probability: float, rate: float, above: float) -> WrongRate:
    """Return a rate that is another one where the probability is low."""
    return lambda _region, at: rate if at < probability else above
