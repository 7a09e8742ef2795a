"""How much callers may have, counted over all replicas, or a share of it while Redis is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from redis.exceptions import RedisError

from services.edge.access.caller import Caller
from services.edge.access.ledger import LEASE_S, Ledger, LocalLedger, Taken
from services.edge.access.quota import UNLIMITED, Plans, Quota
from services.edge.access.tab import Tab
from services.edge.problem import Problem, ProblemError

_LOG = logging.getLogger(__name__)
_RENEWALS = 3
_AWAY = (RedisError, OSError, TimeoutError)
Answer = TypeVar("Answer")


class Quotas:
    """Lets requests in as long as their tenant, and their key, may have more."""

    def __init__(
        self,
        plans: Plans | None = None,
        shared: Ledger | None = None,
        *,
        replicas: int = 1,
        limit_s: float = 0.025,
        pause_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count nothing yet.

        Args:
            plans: the tenants' quotas; none limits nobody.
            shared: counts for all replicas; None counts here.
            replicas: edges that share a quota, for the part that this one may have alone
                while `shared` does not answer.
            limit_s: seconds that `shared` may take.
            pause_s: seconds for which it is left alone after it failed.
            clock: seconds that only go forward.
        """
        self._plans = plans or Plans()
        self._shared = shared
        self._replicas = replicas if shared is not None else 1
        self._limit_s = limit_s
        self._pause_s = pause_s
        self._clock = clock
        self._local = LocalLedger(clock)
        self._alone_until_s = float("-inf")
        self._is_alone = False
        self._left: dict[str, tuple[int, int]] = {}

    @asynccontextmanager
    async def within(self, caller: Caller, *, streaming: bool) -> AsyncIterator[None]:
        """Count a request while inside, and a stream if it is one.

        Raises:
            ProblemError: a limit is reached (429); the problem says which, and for how long.
        """
        limited = [each for each in self._owners(caller) if each[1] != UNLIMITED]
        async with contextlib.AsyncExitStack() as stack:
            for owner, quota in limited:
                lease = secrets.token_hex(8) if streaming and quota.streams else ""
                await self._take(owner, quota, lease)
                if lease:
                    await stack.enter_async_context(self._held(owner, lease))
            yield

    async def charge(self, caller: Caller, tokens: int) -> None:
        """Count the tokens of an answer; later requests pay for them."""
        for owner in self._payers(caller) if tokens else ():
            await self._charge(owner, tokens)

    def counts_tokens(self, caller: Caller) -> bool:
        """Return whether a caller's tokens are limited by anything."""
        return bool(self._payers(caller))

    async def owe(self, caller: Caller, job_id: str) -> None:
        """Note a job whose tokens a caller pays for once it has ended."""
        tab = Tab(caller.tenant_id, job_id, self._payers(caller))
        if tab.owners and await self._try(lambda ledger: ledger.owe(tab)) is None:
            await self._local.owe(tab)

    async def due(self) -> list[Tab]:
        """Return jobs that are not paid for and that nobody else looks at now."""
        return [*(await self._try(lambda ledger: ledger.due()) or ()), *await self._local.due()]

    async def settle(self, tab: Tab, tokens: int) -> None:
        """Count the tokens of a job that has ended, once over all edges."""
        is_ours = await self._local.settle(tab)
        if is_ours or await self._try(lambda ledger: ledger.settle(tab)):
            for owner in tab.owners if tokens else ():
                await self._charge(owner, tokens)

    def headers(self, caller: Caller) -> Mapping[str, str]:
        """Return what a response says of the requests that are left.

        The form is that of draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy` has the
        limit and its window, `RateLimit` what is left of it.
        """
        found = self._left.get(_tenant(caller))
        if found is None:
            return {}
        limit, left = found
        until_full_s = math.ceil(60 * (1 - left / limit))
        return {
            "RateLimit-Policy": f'"requests";q={limit};w=60',
            "RateLimit": f'"requests";r={left};t={until_full_s}',
        }

    def _owners(self, caller: Caller) -> tuple[tuple[str, Quota], ...]:
        """Return who pays: the key where it has a quota of its own, and the tenant.

        In this order: what a key is refused must not be taken from all others of its tenant.
        """
        tenant = (_tenant(caller), self._plans.of(caller.tenant_id))
        if caller.quota == UNLIMITED:
            return (tenant,)
        return ((f"{caller.tenant_id}/{caller.name}", caller.quota), tenant)

    def _payers(self, caller: Caller) -> tuple[str, ...]:
        """Return whose tokens are limited."""
        return tuple(
            owner
            for owner, quota in self._owners(caller)
            if quota.tokens_per_minute or quota.tokens_per_day
        )

    async def _charge(self, owner: str, tokens: int) -> None:
        # Here as well: while Redis is gone, what was used before counts.
        await self._local.charge(owner, tokens)
        await self._try(lambda ledger: ledger.charge(owner, tokens))

    async def _take(self, owner: str, quota: Quota, lease: str) -> None:
        taken = await self._try(lambda ledger: ledger.take(owner, quota, lease))
        if taken is None:
            part = quota.share(self._replicas)
            taken = await self._local.take(owner, part, lease)
        if taken.cause:
            raise ProblemError(_refusal(taken, quota))
        if quota.requests_per_minute:
            self._left[owner] = (quota.requests_per_minute, taken.left)

    @asynccontextmanager
    async def _held(self, owner: str, lease: str) -> AsyncIterator[None]:
        renewing = asyncio.create_task(self._renew(owner, lease))
        try:
            yield
        finally:
            renewing.cancel()
            await self._local.leave(owner, lease)
            # Whoever leaves is often cancelled: then the lease ends by itself.
            await self._try(lambda ledger: ledger.leave(owner, lease))

    async def _renew(self, owner: str, lease: str) -> None:
        while True:
            await asyncio.sleep(LEASE_S / _RENEWALS)
            await self._try(lambda ledger: ledger.renew(owner, lease))

    async def _try(self, ask: Callable[[Ledger], Awaitable[Answer]]) -> Answer | None:
        """Ask the shared ledger; None if it is not there."""
        if self._shared is None or self._clock() < self._alone_until_s:
            return None
        try:
            async with asyncio.timeout(self._limit_s):
                answer = await ask(self._shared)
        except _AWAY as error:
            if not self._is_alone:
                _LOG.warning("quotas are counted here alone: %s", type(error).__name__)
            self._is_alone = True
            self._alone_until_s = self._clock() + self._pause_s
            return None
        if self._is_alone:
            _LOG.info("quotas are counted together again")
            self._is_alone = False
        return answer


def _tenant(caller: Caller) -> str:
    return caller.tenant_id


def _refusal(taken: Taken, quota: Quota) -> Problem:
    limit = getattr(quota, taken.cause)
    detail = f"{taken.cause}: the limit of {limit} is reached."
    return Problem(429, "QUOTA_EXHAUSTED", detail, "", max(0.001, taken.wait_s))
