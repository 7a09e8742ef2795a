"""A worker of the jobs service: `python -m services.jobs.worker`."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from grpc import aio

from libs.clients import Connection, open_allowance
from libs.clients.answer import AnswerClient
from libs.clients.embedding import EmbeddingClient
from libs.clients.generation import GenerationClient
from libs.clients.retrieval import RetrievalClient
from libs.redislink import keep_to_master, open_redis
from libs.server import Served, run
from services.jobs.changes import listen
from services.jobs.ending import end
from services.jobs.kinds import KINDS, Clients, Kind
from services.jobs.records import CHANNEL, Codec, Records
from services.jobs.servicer import decode_event, encode_event
from services.jobs.tickets import Tickets
from services.jobs.worker.attempt import Parts
from services.jobs.worker.attempts import BEAT_SHARE, SILENT_SHARE, Attempts, Room
from services.jobs.worker.config import WorkerConfig
from services.jobs.worker.sweeper import Sweeper
from services.jobs.worker.terms import Terms

NAME = "hasten.jobs.v1.JobsWorker"
_REDIS_TIMEOUT_S = 1.5


@asynccontextmanager
async def build(
    config: WorkerConfig, kinds: Mapping[str, Kind[Any]] = KINDS
) -> AsyncIterator[Served]:
    """Build every part once, by hand."""
    async with AsyncExitStack() as stack:
        redis = open_redis(config.redis_url, timeout_s=_REDIS_TIMEOUT_S)
        stack.push_async_callback(redis.aclose)
        codec = Codec(encode_event, decode_event)
        records = Records(redis, codec, tenant_bytes=config.tenant_bytes)
        tickets = await stack.enter_async_context(Tickets.open(config.redis_url))
        parts = Parts(records, await _connect(config, stack), _terms(config))
        room = Room(config.concurrency, config.tenant_concurrency, config.lease_s)
        attempts = Attempts(parts, tickets, kinds, room)
        silent_s = config.lease_s * SILENT_SHARE
        sweeper = Sweeper(records, tickets, silent_s=silent_s, every_s=config.lease_s * BEAT_SHARE)
        delivering = tickets.deliver(
            attempts.take, name=_name(), count=config.concurrency, redelivery_s=silent_s
        )
        taking = asyncio.create_task(delivering)
        background = [
            asyncio.create_task(attempts.keep_alive()),
            asyncio.create_task(listen(redis, CHANNEL, attempts.heard, lambda: None)),
            asyncio.create_task(sweeper.sweep()),
            asyncio.create_task(keep_to_master(redis)),
        ]
        try:
            yield Served(NAME, _register_nothing, drain=attempts.pause)
        finally:
            attempts.pause()
            await end([taking])
            await attempts.close(config.grace_s)
            await end(background)


def _register_nothing(server: aio.Server) -> None:
    """Serve health alone: work comes by tickets."""


def _name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def _terms(config: WorkerConfig) -> Terms:
    return Terms(
        config.attempt_count,
        config.retry_first_s,
        config.retry_most_s,
        config.limit_s,
        config.limits_s,
    )


async def _connect(config: WorkerConfig, stack: AsyncExitStack) -> Clients:
    allowance = open_allowance()  # one for all that jobs call

    async def to(target: str) -> Connection:
        token = config.token.get_secret_value()
        opened = Connection.open(target, token=token, allowance=allowance, tls=config.tls)
        return await stack.enter_async_context(opened)

    return Clients(
        answers=AnswerClient(await to(config.orchestrator_target)),
        retrieval=RetrievalClient(await to(config.retrieval_target)),
        generation=GenerationClient(await to(config.generation_target)),
        embedding=EmbeddingClient(await to(config.embedding_target)),
    )


def main() -> None:
    """Build and serve."""
    run(WorkerConfig, build)


if __name__ == "__main__":
    main()
