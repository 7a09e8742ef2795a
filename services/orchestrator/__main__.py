"""The orchestrator process: `python -m services.orchestrator`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from redis.asyncio import Redis

from libs.clients import Connection, open_allowance
from libs.clients.cache import CacheClient
from libs.clients.embedding import EmbeddingClient
from libs.clients.generation import GenerationClient
from libs.clients.jobs import JobsClient
from libs.clients.retrieval import RetrievalClient
from libs.eventlog import EventLog
from libs.redislink import open_redis
from libs.resilience.sketches import Sketches, replace_file
from libs.server import Served, run
from services.orchestrator.catalog import Catalog
from services.orchestrator.config import OrchestratorConfig
from services.orchestrator.course import HALF_LIFE_S, Courses
from services.orchestrator.flights import Flights
from services.orchestrator.hops import Clients
from services.orchestrator.keeping import Keeper
from services.orchestrator.leases import Leases
from services.orchestrator.libraries import Libraries, WarmSettings
from services.orchestrator.owners import Owners
from services.orchestrator.policy import Policies, load_policies
from services.orchestrator.runlog import Codec, RunLog
from services.orchestrator.runs import Parts, Runs
from services.orchestrator.servicer import OrchestratorServicer, decode_event, encode_event
from services.orchestrator.stops import Stops

_LOG = logging.getLogger(__name__)
# Longer than the event log's blocking reads, short enough to notice a frozen Redis.
_REDIS_TIMEOUT_S = 1.5
_SETTLE_S = 2.0
# Each run that goes on may write at the same moment; what found no connection would lose
# its log.
_MOST_AT_ONCE = 1000
# Runs of other replicas that can be followed here at once; Redis takes 10,000 clients.
_MOST_FOLLOWERS = 2000
# No policy that is built in lets a run go on for longer.
_LONGEST_RUN_S = 300.0
_CATALOG_WAIT_S = 5.0
_SAVE_EVERY_S = 30.0


@asynccontextmanager
async def build(config: OrchestratorConfig) -> AsyncIterator[Served]:
    """Build every part once, by hand."""
    policies = load_policies(config.policies_file)
    async with AsyncExitStack() as stack:
        redis = open_redis(
            config.redis_url, timeout_s=_REDIS_TIMEOUT_S, most_connections=_MOST_AT_ONCE
        )
        stack.push_async_callback(redis.aclose)
        clients = await _connect(config, stack)
        catalog = Catalog(clients.generation)
        keeper = Keeper(clients.cache)
        stops = Stops(redis)
        owners = Owners(redis, ttl_s=config.run_ttl_s + _LONGEST_RUN_S)
        followers = open_redis(
            config.redis_url, timeout_s=_REDIS_TIMEOUT_S, most_connections=_MOST_FOLLOWERS
        )
        stack.push_async_callback(followers.aclose)
        event_log = EventLog(redis, kind="run", ttl_s=config.run_ttl_s, followers=followers)
        log = RunLog(event_log, Codec(encode_event, decode_event), owners)
        sketches = Sketches(HALF_LIFE_S, time.monotonic)
        courses = Courses(sketches, time.monotonic, config.max_concurrency)
        await _remember(sketches, config.sketches_file)
        flights = _flights(config, redis, log)
        libraries = _libraries(config, clients, policies)
        parts = Parts(clients, catalog, keeper, policies, log, stops, courses, flights, libraries)
        runs = Runs(parts)
        servicer = OrchestratorServicer(runs, policies)
        background = [
            asyncio.create_task(catalog.keep_current()),
            asyncio.create_task(courses.keep_current()),
            asyncio.create_task(_keep(sketches, config.sketches_file)),
            asyncio.create_task(stops.listen(runs.stop_here)),
            asyncio.create_task(libraries.keep_current()),
            asyncio.create_task(owners.keep()),
        ]
        if flights is not None:
            background.append(asyncio.create_task(flights.listen()))
        try:
            yield Served(
                servicer.NAME,
                servicer.register,
                warm=partial(catalog.known, _CATALOG_WAIT_S),
                drain=partial(runs.go_away, config.grace_s),
                watches=servicer.WATCHES,
            )
            await runs.settle(_SETTLE_S)
            if flights is not None:
                await flights.close()
                await runs.settle(_SETTLE_S)
        finally:
            for task in background:
                task.cancel()
            # Bounded: a wait for Redis may swallow a cancellation (CPython bpo-42130).
            await asyncio.wait(background, timeout=_SETTLE_S)


async def _remember(sketches: Sketches, path: Path | None) -> None:
    """Take up what was learned before; what cannot be read is said, and is no reason to stop."""
    if path is None:
        return
    loaded = await asyncio.to_thread(sketches.load, path)
    if loaded.problem:
        _LOG.warning("learned latencies: %s; set aside: %s", loaded.problem, loaded.set_aside)


async def _keep(sketches: Sketches, path: Path | None) -> None:
    """Write what is learned now and then; runs until cancelled, and writes once more then."""
    while path is not None:
        try:
            await asyncio.sleep(_SAVE_EVERY_S)
        finally:
            content = sketches.to_bytes()
            await asyncio.to_thread(_write, path, content)


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        _LOG.warning("learned latencies cannot be kept: %s", error)


def _libraries(config: OrchestratorConfig, clients: Clients, policies: Policies) -> Libraries:
    """Return the collections for prompts; those that are set are read at once."""
    warm = WarmSettings(config.prompt_warm_after_s, config.prompt_warm_for_s)
    libraries = Libraries(clients.retrieval, clients.generation, warm)
    for tenant_id, collection in config.collections_to_warm():
        for policy in policies.reading_collections():
            libraries.want(tenant_id, collection, policy)
    return libraries


def _flights(config: OrchestratorConfig, redis: Redis, log: RunLog) -> Flights | None:
    if not config.flights:
        return None
    leases = Leases(redis, lease_s=config.flight_lease_s)
    return Flights(leases, log, lease_s=config.flight_lease_s, wait_s=config.flight_wait_s)


async def _connect(config: OrchestratorConfig, stack: AsyncExitStack) -> Clients:
    allowance = open_allowance()  # one for all that a run calls

    async def to(target: str) -> Connection:
        token = config.token.get_secret_value()
        opened = Connection.open(target, token=token, allowance=allowance, tls=config.tls)
        return await stack.enter_async_context(opened)

    return Clients(
        CacheClient(await to(config.cache_target)),
        EmbeddingClient(await to(config.embedding_target)),
        RetrievalClient(await to(config.retrieval_target)),
        GenerationClient(await to(config.generation_target)),
        JobsClient(await to(config.jobs_target)) if config.jobs_target else None,
    )


def main() -> None:
    """Build and serve."""
    run(OrchestratorConfig, build)


if __name__ == "__main__":
    main()
