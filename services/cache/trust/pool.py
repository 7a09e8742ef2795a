"""The looks at the hits of one tenant under one policy, and what follows from them.

A pool is a fold: what it says depends on the looks and on their order alone. Replicas that
read the same log agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from services.cache.trust.bound import Numbers, upper_bound
from services.cache.trust.looks import Look
from services.cache.trust.regions import REGION_COUNT
from services.cache.trust.terms import NOT_TRUSTED, TrustTerms

# Looks in which a wrong one is still a reason to look harder, by and by less.
_SUSPICION_LOOKS = 60.0
_WRONG = 1
_MOST_STANDINGS = 16
# Share of the traffic whose regions have targets of their own before all is in doubt.
_MOST_ASIDE = 0.1


class Pool:
    """Looks, faded by those that came after them.

    Attributes:
        own: fading by the looks at their own region: region, step, right or wrong.
        shared: the same, fading by the looks at all regions, each by its weight.
        suspicion: of each region, and of all at the end: 1 at a wrong look, then falling.
        last_s: when the last look was made; None if there was none.
    """

    def __init__(self, terms: TrustTerms) -> None:
        self._terms = terms
        self._targets = terms.targets
        size = (REGION_COUNT, len(self._targets), 2)
        self.own = np.zeros(size)
        self.shared = np.zeros(size)
        self.suspicion = np.zeros(REGION_COUNT + 1)
        self.last_s: float | None = None
        self._standings: dict[float, Standing] = {}

    def take(self, look: Look) -> None:
        """Count a look; those below the shipped target say nothing of what is served."""
        hit = look.hit
        step = int(np.searchsorted(self._targets, hit.probability, side="right")) - 1
        if step < 0 or not 0 <= hit.region < REGION_COUNT:
            return
        # Begun before the look counts, so that every replica moves it by the same looks.
        self.standing(hit.allowance)
        self._fade(look)
        self.own[hit.region, step, int(look.wrong)] += 1.0
        self.shared[hit.region, step, int(look.wrong)] += hit.weight
        if look.wrong:
            self.suspicion[hit.region] = 1.0
            if hit.served:
                self.suspicion[REGION_COUNT] = 1.0
        for standing in self._standings.values():
            standing.move(hit.region)

    def standing(self, allowance: float) -> Standing:
        """Return where targets stand for an allowance, in (0, 1]; it moves with each look."""
        found = self._standings.get(allowance)
        if found is None:
            if len(self._standings) >= _MOST_STANDINGS:
                # Callers that ask for ever other allowances; the first ones are the policies'.
                self._standings.popitem()
            found = self._standings[allowance] = Standing(self, self._terms, allowance)
        return found

    def standings(self) -> tuple[Standing, ...]:
        """Return where targets stand for each allowance that was asked for."""
        return tuple(self._standings.values())

    def _fade(self, look: Look) -> None:
        terms, hit = self._terms, look.hit
        if self.last_s is not None and look.at_s > self.last_s:
            share = 0.5 ** ((look.at_s - self.last_s) / terms.half_life_s)
            self.own *= share
            self.shared *= share
        self.last_s = max(look.at_s, self.last_s or 0.0)
        self.own[hit.region] *= 1.0 - 1.0 / terms.region_looks
        self.shared *= 1.0 - hit.weight / terms.whole_looks
        self.suspicion[[hit.region, REGION_COUNT]] *= 1.0 - 1.0 / _SUSPICION_LOOKS


class Standing:
    """The targets of one pool for one allowance.

    A target goes up at once, as far as it must, and down one step at a time.
    """

    def __init__(self, pool: Pool, terms: TrustTerms, allowance: float) -> None:
        """Begin where the looks so far would have it.

        Args:
            pool: whose looks count.
            terms: the constants.
            allowance: the share of wrong hits that is tolerated, in (0, 1].
        """
        self._pool = pool
        self._terms = terms
        self._allowance = allowance
        self._targets: list[float] = [*map(float, terms.targets), NOT_TRUSTED]
        self._off = len(self._targets) - 1
        self._steps = np.zeros(REGION_COUNT + 1, np.int64)
        self._since = np.zeros(REGION_COUNT + 1)
        self._bounds = np.zeros(REGION_COUNT + 1)
        for region in range(REGION_COUNT):
            self._move(region, self._region_bounds(region))
        self._move(REGION_COUNT, self._whole_bounds())

    def target_in(self, region: int) -> float:
        """Return the least probability that is trusted in a region; may be `NOT_TRUSTED`."""
        return self._targets[max(int(self._steps[region]), int(self._steps[REGION_COUNT]))]

    @property
    def target(self) -> float:
        """The target that no region is below; may be `NOT_TRUSTED`."""
        return self._targets[int(self._steps[REGION_COUNT])]

    @property
    def bound(self) -> float:
        """The upper bound on the share of wrong ones among hits as they are served now.

        Where nothing is trusted, among hits as they would be served at the shipped target.
        """
        return float(self._bounds[REGION_COUNT])

    def move(self, region: int) -> None:
        """Follow a look at a region."""
        self._since[[region, REGION_COUNT]] += 1.0
        self._move(region, self._region_bounds(region))
        self._move(REGION_COUNT, self._whole_bounds())

    def _move(self, row: int, bounds: Numbers) -> None:
        at = int(self._steps[row])
        to = _first_below(bounds, self._allowance)
        if to < at:
            is_time = self._since[row] >= self._terms.pause_looks
            is_sure = bounds[at - 1] <= self._terms.margin * self._allowance
            to = at - 1 if is_time and is_sure else at
        if to != at:
            self._steps[row] = to
            self._since[row] = 0.0
        self._bounds[row] = bounds[0 if to == self._off else to]

    def _region_bounds(self, region: int) -> Numbers:
        """Return the bound at each target of a region, with what the others lend to it."""
        looks, wrong = _above(self._pool.own[region])
        lent_looks, lent_wrong = self._served(without=region)
        if lent_looks[0] > 0:
            share = min(1.0, self._terms.borrowed_looks / lent_looks[0])
            looks, wrong = looks + share * lent_looks, wrong + share * lent_wrong
        return self._with_prior(looks, wrong)

    def _whole_bounds(self) -> Numbers:
        return self._with_prior(*self._served())

    def _served(self, without: int | None = None) -> tuple[Numbers, Numbers]:
        """Return looks and wrong ones above each target, of what regions would serve now.

        Of all, once regions that hold much of the traffic are not trusted as shipped: then it
        is not the regions that are bad.
        """
        shared, steps = self._pool.shared, self._steps[:REGION_COUNT]
        if shared[steps > 0].sum() > _MOST_ASIDE * shared.sum():
            serves = np.ones((REGION_COUNT, self._off))
        else:
            serves = (np.arange(self._off) >= steps[:, None]).astype(float)
        if without is not None:
            serves[without] = 0.0
        return _above(np.einsum("rsv,rs->sv", shared, serves))

    def _with_prior(self, looks: Numbers, wrong: Numbers) -> Numbers:
        terms = self._terms
        bounds = upper_bound(wrong + terms.prior_wrong, looks + terms.prior)
        if bounds[0] <= terms.claim:
            return bounds
        # The calibration is wrong here: what it says of higher probabilities is worth little.
        left = terms.refuted_prior_looks
        rest = upper_bound(wrong[1:] + terms.prior_wrong, looks[1:] + left)
        return np.concatenate((bounds[:1], rest))


def _first_below(bounds: Numbers, most: float) -> int:
    """Return the first step whose bound is not above `most`; past the end if none is."""
    below = np.flatnonzero(bounds <= most)
    return int(below[0]) if len(below) else len(bounds)


def _above(counts: Any) -> tuple[Numbers, Numbers]:
    """Return looks and wrong ones at or above each step."""
    above = counts[::-1].cumsum(axis=0)[::-1]
    return above.sum(axis=1), above[:, _WRONG]
