"""The cache process: `python -m services.cache`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from libs.clients import Connection
from libs.clients.embedding import EmbeddingClient
from libs.clients.generation import GenerationClient
from libs.clients.retrieval import RetrievalClient
from libs.errors import DependencyUnavailableError
from libs.server import Served, run
from libs.telemetry import metrics
from libs.values import ModelTier
from services.cache import measures
from services.cache.changelog import ChangeLog
from services.cache.config import CacheConfig
from services.cache.connection import Link, linked
from services.cache.explaining import Explainer
from services.cache.finder import Finder
from services.cache.freshness import Freshness
from services.cache.hits import Hits
from services.cache.judging.calibration import Calibration
from services.cache.keeper import Keeper
from services.cache.lifetimes import Lifetimes
from services.cache.quarantine import Quarantine
from services.cache.refreshes import Refreshes
from services.cache.renewal import Renewal
from services.cache.replica import Replica
from services.cache.reuse import Reuse
from services.cache.scrubber import Scrubber
from services.cache.servicer import CacheServicer, told_of
from services.cache.store import EntryStore
from services.cache.trust import Trust, TrustTerms
from services.cache.trust.book import Book
from services.cache.trust.desk import Desk
from services.cache.trust.judge import Judge, ModelJudge
from services.cache.trust.warden import Warden
from services.cache.verifier import EmbeddingVerifier
from services.cache.watch import Watch

# For reads of everything and for the log, whose reads block for half a second.
_PATIENT_S = 2.0
# How long a start waits for the store and for the watch, in turn, before it serves without.
_STORE_WAIT_S = 10.0
_WATCH_WAIT_S = 2.0
# A target of 1 would leave nothing to learn from.
_MOST_TARGET = 0.999


@asynccontextmanager
async def build(config: CacheConfig) -> AsyncIterator[Served]:
    """Build every part once, by hand, and start what follows the store and the documents."""
    async with AsyncExitStack() as stack:
        url, pause_s = config.redis_url, config.redis_pause_s
        quick = await stack.enter_async_context(
            linked(url, timeout_s=config.redis_timeout_s, pause_s=pause_s)
        )
        patient = await stack.enter_async_context(
            linked(url, timeout_s=_PATIENT_S, pause_s=pause_s)
        )
        token = config.token.get_secret_value()
        connection = await stack.enter_async_context(
            Connection.open(config.retrieval_target, token=token, tls=config.tls)
        )
        freshness = Freshness(silence_s=config.watch_silence_s)
        bounds, hits = config.bounds, Hits()
        store, patient_store = EntryStore(quick, bounds), EntryStore(patient, bounds)
        replica = Replica(patient_store, ChangeLog(patient), most_count=config.index_count)
        quarantine = _quarantine(config, quick)
        to_embedding = Connection.open(config.embedding_target, token=token, tls=config.tls)
        embedding = EmbeddingClient(await stack.enter_async_context(to_embedding))
        reuse = await _reuse(config, embedding)
        trust = Trust(TrustTerms(min(reuse.target, _MOST_TARGET)))
        metrics.watch_trust(trust.figures)
        judge = await _judge(config, stack)
        desk = Desk(trust, Book(patient), patient_store, told_of, judge)
        finder = Finder(
            store,
            replica,
            freshness,
            floor=config.min_similarity,
            refreshes=Refreshes(quick, lease_s=config.refresh_lease_s),
            quarantine=quarantine,
            hits=hits,
            reuse=reuse,
            warden=Warden(
                trust, desk, allowance=config.wrong_hit_allowance, share=config.look_share
            ),
        )
        renewal = Renewal(patient_store, replica, embedding, every_s=config.renew_every_s)
        scrubber = Scrubber(patient_store, replica, freshness, every_s=config.scrub_every_s)
        keeper = Keeper(
            store,
            patient_store,
            replica,
            freshness,
            _lifetimes(config),
            quarantine=quarantine,
            desk=desk,
        )
        measures.watch(replica, freshness)
        explainer = Explainer(patient_store, replica, reuse, finder.semantic_steps)
        servicer = CacheServicer(
            finder,
            keeper,
            replica,
            freshness,
            explainer,
            max_answer_bytes=config.max_answer_bytes,
        )
        watch = Watch(RetrievalClient(connection), freshness)
        background = [
            asyncio.create_task(replica.follow()),
            asyncio.create_task(replica.tidy()),
            asyncio.create_task(watch.follow()),
            asyncio.create_task(hits.follow(patient_store, replica)),
            asyncio.create_task(scrubber.follow()),
            asyncio.create_task(renewal.follow()),
            asyncio.create_task(desk.follow()),
        ]

        async def warm() -> None:
            await replica.ready(_STORE_WAIT_S)
            await freshness.ready(_WATCH_WAIT_S)
            with suppress(DependencyUnavailableError):
                await desk.catch_up()

        try:
            yield Served(servicer.NAME, servicer.register, warm=warm)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)


def _lifetimes(config: CacheConfig) -> Lifetimes:
    return Lifetimes(
        config.ttl_s,
        config.degraded_ttl_s,
        config.refusal_ttl_s,
        config.fresh_share,
        config.ttl_jitter,
        config.quarantine_s,
    )


def _quarantine(config: CacheConfig, link: Link) -> Quarantine | None:
    if not config.quarantine_s:
        return None
    return Quarantine(link, longest_s=config.quarantine_s, looks=config.quarantine_looks)


async def _judge(config: CacheConfig, stack: AsyncExitStack) -> Judge | None:
    """Return who looks at hits, as the settings want it."""
    if config.judge == "off":
        return None
    token = config.token.get_secret_value()
    connection = await stack.enter_async_context(
        Connection.open(config.generation_target, token=token, tls=config.tls)
    )
    tier = ModelTier.FAST if config.judge == "fast" else ModelTier.BEST
    return ModelJudge(GenerationClient(connection), tier)


async def _reuse(config: CacheConfig, embedding: EmbeddingClient) -> Reuse:
    """Return what decides on reuse, as the settings want it."""
    calibration = await asyncio.to_thread(Calibration.shipped) if config.calibrated else None
    verifies = calibration is not None and config.verifies
    verifier = EmbeddingVerifier(embedding) if verifies else None
    return Reuse(config.min_similarity, calibration, verifier, config.target)


def main() -> None:
    """Build and serve."""
    run(CacheConfig, build)


if __name__ == "__main__":
    main()
