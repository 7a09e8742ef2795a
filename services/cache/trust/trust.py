"""How far semantic hits are trusted: for each tenant, policy and region of the space."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from services.cache.trust.looks import Look
from services.cache.trust.pool import Pool, Standing
from services.cache.trust.regions import REGION_COUNT
from services.cache.trust.terms import NOT_TRUSTED, TrustTerms

# Pools kept; beyond them the one that was looked at least recently is forgotten.
_POOL_COUNT = 4096
# Of the hits where something was wrong lately, and of what is held back.
_CLOSE_SHARE = 0.5
_HELD_BACK_SHARE = 0.25
# What was wrong about 60 looks ago is no doubt any more.
_DOUBT = 0.37


@dataclass(frozen=True, slots=True)
class Traffic:
    """Whose hits: a tenant, the policy its questions are answered under, what it tolerates.

    Attributes:
        allowance: the share of wrong hits that is tolerated, in (0, 1].
    """

    tenant_id: str
    policy: str
    allowance: float


class Trust:
    """The targets in force, and how closely hits are looked at.

    Asked on the path of requests, so its answers are read and not computed; they move when
    a look is taken.
    """

    def __init__(self, terms: TrustTerms) -> None:
        """Trust everything as far as the calibration does.

        Args:
            terms: the constants.
        """
        self._terms = terms
        self._unseen = Pool(terms)
        self._pools: OrderedDict[tuple[str, str], Pool] = OrderedDict()

    @property
    def shipped_target(self) -> float:
        """The target that none is ever below."""
        return self._terms.target

    def target(self, traffic: Traffic, region: int) -> float:
        """Return the least probability that is trusted; may be `NOT_TRUSTED`."""
        return self._standing(traffic).target_in(region)

    def take(self, look: Look) -> None:
        """Count a look, and move what it moves."""
        name = (look.hit.tenant_id, look.hit.policy)
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = Pool(self._terms)
            if len(self._pools) > _POOL_COUNT:
                self._pools.popitem(last=False)
        self._pools.move_to_end(name)
        pool.take(look)

    def shares(
        self, traffic: Traffic, region: int, share: float, *, served: bool
    ) -> tuple[float, float]:
        """Return which share of the hits in a region, and of all hits, is to be looked at.

        Args:
            traffic: whose hits.
            region: where they are.
            share: of hits that are looked at while nothing is wrong; 0 looks at none.
            served: False for hits that are held back: without looks at them nothing that
                is not trusted could ever be trusted again.
        """
        if share <= 0:
            return 0.0, 0.0
        pool = self._pools.get((traffic.tenant_id, traffic.policy), self._unseen)
        close = max(share, _CLOSE_SHARE)
        of_all = close if pool.suspicion[REGION_COUNT] > _DOUBT else share
        if not served:
            return max(of_all, _HELD_BACK_SHARE), of_all
        return close if pool.suspicion[region] > _DOUBT else of_all, of_all

    def figures(self) -> dict[str, tuple[float, float]]:
        """Return bound and target, `mean` and `worst` over tenants, policies and allowances."""
        pools = (self._unseen, *self._pools.values())
        told = [(each.bound, min(1.0, each.target)) for pool in pools for each in pool.standings()]
        bounds, targets = zip(*told, strict=True) if told else ((0.0,), (self._terms.target,))
        mean = sum(bounds) / len(bounds), sum(targets) / len(targets)
        return {"mean": mean, "worst": (max(bounds), max(targets))}

    def take_all(self, looks: Iterable[Look]) -> None:
        """Count looks, oldest first."""
        for look in looks:
            self.take(look)

    def _standing(self, traffic: Traffic) -> Standing:
        pool = self._pools.get((traffic.tenant_id, traffic.policy), self._unseen)
        return pool.standing(traffic.allowance)


__all__ = ["NOT_TRUSTED", "Traffic", "Trust"]
