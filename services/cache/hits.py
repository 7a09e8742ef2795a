"""How often answers are used: counted here, and told to the store a second later."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from itertools import islice

from libs.errors import DependencyUnavailableError
from services.cache.replica import Replica
from services.cache.store import EntryStore

_EVERY_S = 1.0
# Answers with hits that are not told yet; of more, hits are not counted until they are.
_MOST_UNTOLD = 10_000
# Of one tenant, told in one step; Redis does nothing else meanwhile.
_PAGE_COUNT = 500
_LOG = logging.getLogger(__name__)


class Hits:
    """Hits by answer; counting one costs a lookup less than a microsecond."""

    def __init__(self) -> None:
        self._untold: Counter[tuple[str, str]] = Counter()

    def add(self, tenant_id: str, key: str) -> None:
        """Count a hit."""
        untold = self._untold
        if len(untold) < _MOST_UNTOLD:
            untold[tenant_id, key] += 1

    async def follow(self, store: EntryStore, replica: Replica) -> None:
        """Tell them, until cancelled. What a store that is away is not told is lost."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.tell(store, replica)
            except DependencyUnavailableError as error:
                _LOG.debug("hits are lost: %s", error)

    async def tell(self, store: EntryStore, replica: Replica) -> None:
        """Tell what was counted: the answers are worth more, there and in the index.

        Raises:
            DependencyUnavailableError: the store does not answer.
        """
        untold, self._untold = self._untold, Counter()
        tenants: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for (tenant_id, key), count in untold.items():
            tenants[tenant_id][key] = count
            replica.index.hit(key, count)
        for tenant_id, hits in tenants.items():
            rest = iter(hits.items())
            while page := dict(islice(rest, _PAGE_COUNT)):
                await store.count_hits(tenant_id, page)
