"""The jobs process: `python -m services.jobs`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from libs.redislink import keep_to_master, open_redis
from libs.server import Served, run
from services.jobs.changes import Changes
from services.jobs.config import JobsConfig
from services.jobs.desk import Desk, Terms
from services.jobs.ending import end
from services.jobs.kinds import KINDS, Kind
from services.jobs.records import Codec, Records
from services.jobs.servicer import JobsServicer, decode_event, encode_event
from services.jobs.tickets import Tickets

# Longer than a listener's poll, short enough to notice a frozen Redis.
_REDIS_TIMEOUT_S = 1.5


@asynccontextmanager
async def build(
    config: JobsConfig, kinds: Mapping[str, Kind[Any]] = KINDS
) -> AsyncIterator[Served]:
    """Build every part once, by hand."""
    async with AsyncExitStack() as stack:
        redis = open_redis(config.redis_url, timeout_s=_REDIS_TIMEOUT_S)
        stack.push_async_callback(redis.aclose)
        codec = Codec(encode_event, decode_event)
        records = Records(redis, codec, tenant_bytes=config.tenant_bytes)
        tickets = await stack.enter_async_context(Tickets.open(config.redis_url))
        changes = Changes(redis)
        terms = Terms(config.result_ttl_s, config.unfinished_ttl_s, config.unfinished_count)
        servicer = JobsServicer(Desk(records, tickets, changes, kinds, terms))
        background = [
            asyncio.create_task(changes.listen()),
            asyncio.create_task(keep_to_master(redis)),
        ]
        try:
            yield Served(
                servicer.NAME,
                servicer.register,
                drain=changes.close,
                watches=servicer.WATCHES,
            )
        finally:
            await end(background)


def main() -> None:
    """Build and serve."""
    run(JobsConfig, build)


if __name__ == "__main__":
    main()
