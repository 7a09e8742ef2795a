"""What tests of the cache build on: answers, vectors, clocks, a retrieval service to watch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from grpc import aio

from hasten.retrieval.v1 import retrieval_service_pb2 as pb
from hasten.retrieval.v1.retrieval_service_pb2_grpc import (
    RetrievalServiceServicer,
    add_RetrievalServiceServicer_to_server,
)
from libs.clients import Connection
from libs.clients.cache import CacheClient
from libs.server.testing import serving
from libs.values import (
    AnswerEvent,
    CacheLayer,
    Citation,
    Event,
    Filter,
    FinishReason,
    ModelTier,
    Passage,
    Quality,
    Role,
    Sources,
    SourceVersion,
    TextDelta,
    Turn,
)
from libs.values.cache import Answer, AskedQuestion, Decision, Lookup
from services.cache.__main__ import build
from services.cache.changelog import ChangeLog
from services.cache.config import CacheConfig
from services.cache.connection import linked
from services.cache.entry import Draft
from services.cache.finder import Finder
from services.cache.freshness import Freshness
from services.cache.keeper import Keeper
from services.cache.lifetimes import Lifetimes
from services.cache.quarantine import Quarantine
from services.cache.refreshes import Refreshes
from services.cache.replica import Replica
from services.cache.store import EntryStore

MODEL = "model-1"
STORE_ID = "store-1"
LIFETIMES = Lifetimes(100.0, 10.0)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now_s: float = 1_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds


def vector(*parts: float, dimensions: int = 8) -> bytes:
    """Return a normalised vector that begins with `parts`."""
    row = np.zeros(dimensions, np.float32)
    row[: len(parts)] = parts
    return (row / np.linalg.norm(row)).astype("<f4").tobytes()


def at_similarity(cosine: float, dimensions: int = 8) -> bytes:
    """Return a vector with that cosine to `vector(1.0)`."""
    return vector(cosine, float(np.sqrt(1.0 - cosine**2)), dimensions=dimensions)


def numbered(*events: Event) -> tuple[AnswerEvent, ...]:
    return tuple(AnswerEvent(number, event) for number, event in enumerate(events, 1))


def said(text: str) -> tuple[AnswerEvent, ...]:
    """Return the events of an answer with a source and a citation."""
    words = "Hamlet was written by William Shakespeare."
    passage = Passage("p1", "doc", 1, "Plays", "", words, 0, len(words))
    citation = Citation(0, "doc", words, 0, len(words), len(text))
    return numbered(Sources((passage,), 1, "fused"), TextDelta(text), citation)


def answer(
    question: str = "Who wrote Hamlet?",
    text: str = "Shakespeare.",
    *,
    tenant_id: str = "acme",
    entry_id: str = "run-1",
    embedding: bytes = vector(1.0),
    finish_reason: FinishReason = FinishReason.END_TURN,
    quality: Quality = Quality.FULL,
    **more: Any,
) -> Answer:
    asked = more.pop("asked", AskedQuestion(question))
    return Answer(
        tenant_id,
        asked,
        entry_id,
        more.pop("events", said(text)),
        finish_reason,
        quality,
        embedding=embedding,
        embedding_fingerprint=MODEL,
        **more,
    )


def built_from(document_id: str, version: int, collection: str = "plays") -> dict[str, Any]:
    """Return what an answer says of the document it was built from."""
    return {"sources": (SourceVersion(collection, document_id, version),), "store_id": STORE_ID}


def exact(question: str = "Who wrote Hamlet?", tenant_id: str = "acme", **more: Any) -> Lookup:
    asked = more.pop("asked", AskedQuestion(question))
    return Lookup(tenant_id, CacheLayer.EXACT, asked, **more)


def semantic(embedding: bytes = vector(1.0), tenant_id: str = "acme", **more: Any) -> Lookup:
    asked = more.pop("asked", AskedQuestion("Which author wrote Hamlet?"))
    return Lookup(
        tenant_id,
        CacheLayer.SEMANTIC,
        asked,
        embedding=embedding,
        embedding_fingerprint=more.pop("embedding_fingerprint", MODEL),
        **more,
    )


def prompted(prompt_sha256: bytes, tenant_id: str = "acme") -> Lookup:
    return Lookup(tenant_id, CacheLayer.PROMPT, prompt_sha256=prompt_sha256)


def variant(random_: random.Random, question: str) -> tuple[str, AskedQuestion]:
    """Return one of few tenants and ways to ask, so that near twins are common."""
    pick = random_.choice
    asked = AskedQuestion(
        question,
        history=pick([(), (Turn(Role.USER, "Hi."),), (Turn(Role.ASSISTANT, "Hi."),)]),
        scope=pick(["", "staff", "a"]),
        collection=pick(["", "staff", "plays"]),
        filters=pick([(), (Filter("k", ("a",)),), (Filter("k", ("a", "b")),)]),
        settings_fingerprint=pick(["", "s1", "s2"]),
        model_tier=pick([ModelTier.BEST, ModelTier.FAST]),
        system_version=pick(["v1", "v2"]),
        output_schema=pick(["", "{}"]),
    )
    return pick(["acme", "acme2", "ACME", "rival"]), asked


async def decided(cache: CacheClient, lookup: Lookup) -> Decision:
    async with cache.lookup(lookup, limit_s=10.0) as found:
        return found.decision


async def replayed(cache: CacheClient, lookup: Lookup) -> tuple[AnswerEvent, ...]:
    async with cache.lookup(lookup, limit_s=10.0) as found:
        return tuple([event async for page in found.events for event in page])


def draft(question: str = "Who wrote Hamlet?", **more: Any) -> Draft:
    values: dict[str, Any] = {
        "tenant_id": "acme",
        "asked": AskedQuestion(question),
        "entry_id": "run-1",
        "pages": (b"page",),
        "finish_reason": FinishReason.END_TURN,
        "quality": Quality.FULL,
        "vector": vector(1.0),
        "embedding_fingerprint": MODEL,
    }
    return Draft(**(values | more))


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one replica, without a server; `clock` is its wall clock."""

    store: EntryStore
    log: ChangeLog
    replica: Replica
    freshness: Freshness
    finder: Finder
    keeper: Keeper
    clock: Clock


@asynccontextmanager
async def replica_parts(
    redis_url: str, lifetimes: Lifetimes = LIFETIMES, looks: int = 0
) -> AsyncIterator[Parts]:
    clock, freshness = Clock(), Freshness(silence_s=10.0)
    async with linked(redis_url, timeout_s=2.0, pause_s=0.05) as link:
        store, log = EntryStore(link), ChangeLog(link)
        replica = Replica(store, log, clock=clock)
        quarantine = Quarantine(link, longest_s=60.0, looks=looks)
        refreshes = Refreshes(link, lease_s=30.0)
        guards = {"quarantine": quarantine, "clock": clock}
        finder = Finder(store, replica, freshness, floor=0.92, refreshes=refreshes, **guards)
        keeper = Keeper(store, store, replica, freshness, lifetimes, **guards)
        yield Parts(store, log, replica, freshness, finder, keeper, clock)


class Documents(RetrievalServiceServicer):
    """A retrieval service of which only the changes are of interest."""

    def __init__(self, store_id: str = STORE_ID) -> None:
        self.store_id = store_id
        self.version = 0
        self.quiet = asyncio.Event()
        self._changes: dict[tuple[str, str, str], pb.Change] = {}
        self._news = asyncio.Event()

    def register(self, server: aio.Server) -> None:
        add_RetrievalServiceServicer_to_server(self, server)

    def change(self, document_id: str, tenant_id: str = "acme", collection: str = "plays") -> int:
        """Change a document and return its version."""
        self.version += 1
        self._changes[tenant_id, collection, document_id] = pb.Change(
            version=self.version,
            tenant_id=tenant_id,
            collection=collection,
            document_id=document_id,
            kind=pb.CHANGE_KIND_UPSERTED,
        )
        self._news.set()
        self._news = asyncio.Event()
        return self.version

    def replaced(self, store_id: str) -> None:
        """Be another store from now on, of the same documents."""
        self.store_id = store_id
        self._news.set()

    async def WatchChanges(
        self, request: pb.WatchChangesRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.WatchChangesResponse]:
        told = request.after_version
        while not self.quiet.is_set():
            news = self._news
            changes = [each for each in self._changes.values() if each.version > told]
            changes.sort(key=lambda each: each.version)
            told = self.version
            yield pb.WatchChangesResponse(
                changes=changes, index_version=told, store_id=self.store_id
            )
            waiting = asyncio.create_task(news.wait())
            await asyncio.wait({waiting}, timeout=0.05)
            waiting.cancel()
        await asyncio.Event().wait()


@asynccontextmanager
async def cache_process(
    redis_url: str, retrieval_target: str, **settings: Any
) -> AsyncIterator[CacheClient]:
    """Yield a client of a cache that is built as `python -m services.cache` builds it.

    Unless told otherwise it is as patient as a slow machine needs.
    """
    patient = {"redis_timeout_s": 2.0, "watch_silence_s": 5.0}
    targets = {"redis_url": redis_url, "retrieval_target": retrieval_target}
    config = CacheConfig(**(targets | patient | settings))
    async with build(config) as served:
        await served.warm()
        async with serving(served.register) as address, Connection.open(address) as connection:
            yield CacheClient(connection)
