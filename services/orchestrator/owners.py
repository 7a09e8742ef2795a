"""Which replica a run is written by, and whether that one is still there.

A replica's name lives in Redis while it is renewed. Beside the log of a run that goes on
stands the name of its replica. Whoever follows a silent log so finds out that nothing more
will come of it, and ends it, so that nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from libs.errors import EventLogUnavailableError
from libs.values import (
    SHOWN,
    Account,
    AnswerEvent,
    AnswerState,
    Completed,
    Degradation,
    Event,
    FinishReason,
    Plan,
    Quality,
    TextDelta,
)
from services.orchestrator.report import REFUSALS

_LOG = logging.getLogger(__name__)
_LIVES_S = 3.0
_RENEW_EVERY_S = 1.0
LOST = "LOST"
# More than anybody can have seen of a run that was not written down. The end of a lost run
# keeps so far from what is there that its number is never one of those.
_UNSEEN = 1_000_000
# The name of no replica.
_NOBODY = ""


class Owners:
    """The names of all replicas; one replica's view of them."""

    def __init__(self, redis: Redis, *, ttl_s: float) -> None:
        """Note owners in `redis`.

        Args:
            redis: a client.
            ttl_s: seconds that a run's owner is known; no run goes on for so long.
        """
        self._redis: Any = redis
        self._ttl_ms = int(ttl_s * 1e3)
        self._name = secrets.token_hex(8)

    async def keep(self) -> None:
        """Keep this replica's name alive, until cancelled."""
        while True:
            try:
                await self._redis.set(_alive(self._name), 1, px=int(_LIVES_S * 1e3))
            except RedisError as error:
                _LOG.debug("a name is not kept: %s", type(error).__name__)
            await asyncio.sleep(_RENEW_EVERY_S)

    async def claim(self, tenant_id: str, run_id: str) -> None:
        """Note that a run is written by this replica.

        Raises:
            EventLogUnavailableError: Redis does not answer.
        """
        await self._note(tenant_id, run_id, self._name)

    async def disown(self, tenant_id: str, run_id: str) -> None:
        """Note that nobody writes a run any more.

        Raises:
            EventLogUnavailableError: Redis does not answer.
        """
        await self._note(tenant_id, run_id, _NOBODY)

    async def _note(self, tenant_id: str, run_id: str, name: str) -> None:
        try:
            await self._redis.set(_owner(tenant_id, run_id), name, px=self._ttl_ms)
        except RedisError as error:
            raise EventLogUnavailableError("the run's owner cannot be noted") from error

    async def is_lost(self, tenant_id: str, run_id: str) -> bool:
        """Return whether a run's replica is known, and is gone.

        Raises:
            EventLogUnavailableError: Redis does not answer.
        """
        try:
            name = await self._redis.get(_owner(tenant_id, run_id))
            return name is not None and not await self._redis.exists(_alive(name.decode()))
        except RedisError as error:
            raise EventLogUnavailableError("the run's owner is not known now") from error


def ending_of(events: Sequence[AnswerEvent]) -> list[AnswerEvent]:
    """Return the events that end a run whose replica is gone; none if it has its end.

    What it took is lost with the replica: the account is empty.
    """
    if not events or isinstance(events[-1].event, Completed):
        return []
    has_text = any(isinstance(each.event, SHOWN) for each in events)
    plan = next((each.event for each in events if isinstance(each.event, Plan)), None)
    completed = Completed(
        FinishReason.INTERRUPTED,
        AnswerState.PARTIAL if has_text else AnswerState.REFUSED,
        plan.target_quality if has_text and plan else Quality.REFUSAL,
        Account(0.0, None, (), ()),
        degradations=(Degradation("orchestrator", LOST),),
    )
    first = events[-1].sequence + 1 + _UNSEEN
    rest: list[Event] = [completed] if has_text else [TextDelta(REFUSALS["NOT_WRITTEN"]), completed]
    return [AnswerEvent(first + index, event) for index, event in enumerate(rest)]


def _alive(name: str) -> str:
    return f"hasten:orchestrator:{name}"


def _owner(tenant_id: str, run_id: str) -> str:
    # The slot of the run's log.
    return f"hasten:run:{{{tenant_id}/{run_id}}}:owner"
