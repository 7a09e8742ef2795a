"""Three cache replicas under load: what has changed is served by none, all else by each."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blockbuster import BlockBuster

from libs.clients.cache import CacheClient
from libs.errors import MeshError
from libs.server.testing import serving
from libs.values import Verdict
from libs.values.cache import Lookup, Provenance
from tests.support.blocking import blocking
from tests.support.caches import CacheReplica, cache_replicas
from tests.support.valkey import Valkey, Watched
from tests.support.waiting import until
from tests.unit.cache.parts import Documents, answer, built_from, exact, semantic, vector

# When a change must have reached everybody, from the moment it was made.
CHANGED_WITHIN_S = 0.5
REPORTED_WITHIN_S = 0.2
BACK_WITHIN_S = 5.0
COUNT = 3
CHANGED, STABLE = "Who wrote Hamlet?", "Who wrote Macbeth?"
VECTORS = {CHANGED: vector(1.0), STABLE: vector(0.0, 1.0)}

pytestmark = pytest.mark.prove


@dataclass(frozen=True, slots=True)
class Look:
    """One lookup: when it was sent, of what, and whether it hit."""

    sent_s: float
    replica: int
    question: str
    hit: bool
    failed: bool = False


@dataclass
class Stage:
    """Replicas with load on each, and what the load has seen."""

    replicas: Sequence[CacheReplica]
    clients: Sequence[CacheClient]
    documents: Documents
    redis: Any
    guard: BlockBuster
    looks: list[Look] = field(default_factory=list)

    def hits_after(self, question: str, moment_s: float) -> list[Look]:
        """Return the hits of lookups that were sent after a moment."""
        return [
            each
            for each in self.looks
            if each.hit and each.question == question and each.sent_s > moment_s
        ]

    async def load(self, replica: int) -> None:
        """Look both questions up, by words and by meaning, again and again."""
        kinds: tuple[Callable[[str], Lookup], ...] = (exact, lambda q: semantic(VECTORS[q]))
        while True:
            for question in (CHANGED, STABLE):
                for kind in kinds:
                    await self._look(replica, question, kind(question))
                    await asyncio.sleep(0.005)

    async def _look(self, replica: int, question: str, lookup: Lookup) -> None:
        sent_s = time.monotonic()
        try:
            found = await self.clients[replica].find(lookup, limit_s=1.0)
        except MeshError:
            self.looks.append(Look(sent_s, replica, question, hit=False, failed=True))
            return
        self.looks.append(Look(sent_s, replica, question, found.decision.hit))

    async def both_hit(self) -> bool:
        """Return whether every replica has both answers, by words and by meaning."""
        for client in self.clients:
            for question in (CHANGED, STABLE):
                for lookup in (exact(question), semantic(VECTORS[question])):
                    if not await hit(client, lookup):
                        return False
        return True

    async def stable_hits(self) -> bool:
        """Return whether every replica has what did not change."""
        found = [await hit(each, exact(STABLE)) for each in self.clients]
        return all(found)


async def hit(client: CacheClient, lookup: Lookup) -> bool:
    try:
        return (await client.find(lookup, limit_s=1.0)).decision.hit
    except MeshError:
        return False


async def stored(client: CacheClient, question: str, version: int, **more: Any) -> bool:
    name = "changed" if question == CHANGED else "stable"
    built = built_from(name, version) | {"embedding": VECTORS[question], "entry_id": name}
    try:
        return (await client.store(answer(question, **(built | more)), limit_s=2.0)).stored
    except MeshError:
        return False


@asynccontextmanager
async def staged(redis: Any, guard: BlockBuster, **more: Any) -> AsyncIterator[Stage]:
    documents = Documents()
    versions = {CHANGED: documents.change("changed"), STABLE: documents.change("stable")}
    async with serving(documents.register) as retrieval:
        with blocking(guard):
            opening = cache_replicas(COUNT, redis.url, retrieval)
            async with opening as (replicas, clients):
                stage = Stage(replicas, clients, documents, redis, guard)
                for question, version in versions.items():
                    await until(lambda: stored(clients[0], question, version, **more))  # noqa: B023
                await until(stage.both_hit)
                loads = [asyncio.create_task(stage.load(number)) for number in range(COUNT)]
                await asyncio.sleep(0.3)
                try:
                    yield stage
                finally:
                    for load in loads:
                        load.cancel()
                    await asyncio.gather(*loads, return_exceptions=True)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    servers = Watched(tmp_path)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


async def nothing(stage: Stage) -> None:
    await asyncio.sleep(2.0)


async def one_is_killed(stage: Stage) -> None:
    await stage.replicas[1].kill()
    await asyncio.sleep(0.2)
    await stage.replicas[1].start()
    await asyncio.sleep(1.0)


async def one_stands_still(stage: Stage) -> None:
    """What it knew when it stood still is no longer so when it goes on."""
    stage.replicas[1].freeze()
    await asyncio.sleep(1.5)
    stage.redis.told("XTRIM hasten:{cache}:changes MAXLEN 0")
    stage.replicas[1].thaw()
    await asyncio.sleep(1.5)


async def the_log_is_trimmed(stage: Stage) -> None:
    await stage.replicas[1].kill()
    stage.redis.told("XTRIM hasten:{cache}:changes MAXLEN 0")
    await stage.replicas[1].start()
    await asyncio.sleep(1.0)


async def redis_fails_over(stage: Stage) -> None:
    stage.redis.master.kill()
    await asyncio.sleep(BACK_WITHIN_S)


async def check(stage: Stage, happens: Callable[[Stage], Awaitable[None]], name: str) -> None:
    changed_s = time.monotonic()
    stage.documents.change("changed")
    await happens(stage)
    # Whoever begins to write before the change and stores after it is refused.
    for client in stage.clients:
        assert not await stored(client, CHANGED, 1, entry_id="late")
    back_s = await until(stage.stable_hits, within_s=BACK_WITHIN_S)
    await asyncio.sleep(0.3)
    late = stage.hits_after(CHANGED, changed_s)
    assert not stage.hits_after(CHANGED, changed_s + CHANGED_WITHIN_S)
    took_ms = 1e3 * max((each.sent_s - changed_s for each in late), default=0.0)
    after = [each for each in stage.looks if each.sent_s > changed_s]
    for replica in range(COUNT):
        last = [each for each in after if (each.replica, each.question) == (replica, STABLE)]
        assert last[-1].hit
    print(
        f"replicas: {name}: last hit on what changed {took_ms:.0f} ms after; "
        f"{len(after)} lookups, {sum(each.failed for each in after)} failed; "
        f"all replicas have the rest {back_s:.2f} s after the end of it"
    )


@pytest.mark.parametrize("happens", [nothing, one_is_killed, one_stands_still, the_log_is_trimmed])
async def test_a_changed_document_ends_its_answers_on_every_replica(
    valkey: Valkey, no_blocking: BlockBuster, happens: Callable[[Stage], Awaitable[None]]
) -> None:
    async with staged(valkey, no_blocking) as stage:
        await check(stage, happens, happens.__name__)


async def test_a_changed_document_ends_its_answers_while_redis_fails_over(
    watched: Watched, no_blocking: BlockBuster
) -> None:
    async with staged(watched, no_blocking) as stage:
        await check(stage, redis_fails_over, "redis_fails_over")


async def test_without_provenance_the_change_would_not_be_noticed(
    valkey: Valkey, no_blocking: BlockBuster
) -> None:
    """The check above can fail: of an answer that nothing is compared for, it does."""
    async with staged(valkey, no_blocking, provenance=Provenance.TTL) as stage:
        changed_s = time.monotonic()
        stage.documents.change("changed")
        await asyncio.sleep(1.0)
        assert stage.hits_after(CHANGED, changed_s + CHANGED_WITHIN_S)


async def test_a_reported_hit_is_served_nowhere_a_moment_later(
    valkey: Valkey, no_blocking: BlockBuster
) -> None:
    async with staged(valkey, no_blocking) as stage:
        reported_s = time.monotonic()
        assert (await stage.clients[2].report("acme", "changed", Verdict.BAD)).removed
        await asyncio.sleep(1.0)
        late = stage.hits_after(CHANGED, reported_s)
        assert not stage.hits_after(CHANGED, reported_s + REPORTED_WITHIN_S)
        assert stage.hits_after(STABLE, reported_s + REPORTED_WITHIN_S)
        last_ms = 1e3 * max((each.sent_s - reported_s for each in late), default=0.0)
        print(f"replicas: last hit on a reported answer {last_ms:.0f} ms after the report")


LOOKUPS = 10_000
ANSWERS = 3_000
DIMENSIONS = 64


def directions(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSIONS)).astype("<f4")
    normal: np.ndarray[Any, np.dtype[np.float32]] = rows / np.linalg.norm(
        rows, axis=1, keepdims=True
    )
    return normal


async def all_of(calls: Sequence[Callable[[], Awaitable[Any]]], at_once: int = 24) -> list[Any]:
    """Make calls, a few at a time; return what they returned, in order."""
    slots = asyncio.Semaphore(at_once)

    async def one(call: Callable[[], Awaitable[Any]]) -> Any:
        async with slots:
            return await call()

    return await asyncio.gather(*map(one, calls))


async def test_a_replica_that_was_killed_agrees_with_the_others(
    valkey: Valkey, no_blocking: BlockBuster
) -> None:
    order = random.Random(5)  # noqa: S311 - the same lookups each time
    rows = directions(ANSWERS, 1)
    async with serving(Documents().register) as retrieval:
        with blocking(no_blocking):
            async with cache_replicas(COUNT, valkey.url, retrieval) as (replicas, clients):

                def store(number: int) -> Callable[[], Awaitable[Any]]:
                    kept = answer(
                        f"Question {number}?",
                        entry_id=f"run-{number}",
                        embedding=rows[number].tobytes(),
                    )
                    return lambda: clients[0].store(kept, limit_s=10.0)

                half = ANSWERS // 2
                kept = await all_of([store(number) for number in range(half)])
                assert all(each.stored for each in kept)
                await replicas[2].kill()
                await all_of([store(number) for number in range(half, ANSWERS)])
                gone = order.sample(range(ANSWERS), 300)
                await all_of(
                    [
                        lambda n=number: clients[1].report("acme", f"run-{n}", Verdict.BAD)
                        for number in gone
                    ]
                )
                valkey.told("XTRIM hasten:{cache}:changes MAXLEN 0")
                began_s = time.monotonic()
                await replicas[2].start()
                ready_s = time.monotonic() - began_s

                async def same_count() -> bool:
                    counts = {(await each.stats("acme")).semantic_entry_count for each in clients}
                    return counts == {ANSWERS - len(gone)}

                await until(same_count, within_s=20.0)
                near = rows + 0.03 * directions(ANSWERS, 2)
                near /= np.linalg.norm(near, axis=1, keepdims=True)
                lookups = [
                    exact(f"Question {order.randrange(ANSWERS)}?")
                    if number % 2
                    else semantic(near[order.randrange(ANSWERS)].astype("<f4").tobytes())
                    for number in range(LOOKUPS)
                ]
                told = []
                for client in (clients[2], clients[0]):
                    found = await all_of(
                        [lambda c=client, q=each: c.find(q, limit_s=10.0) for each in lookups]
                    )
                    told.append(
                        [
                            (each.decision.reason, each.decision.entry_id, each.events)
                            for each in found
                        ]
                    )
                assert told[0] == told[1]
                hits = sum(reason == "OK" for reason, _, _ in told[0])
                assert 0.5 * LOOKUPS < hits < LOOKUPS
                print(
                    f"replicas: ready {ready_s:.2f} s after its start with {ANSWERS} answers; "
                    f"{LOOKUPS} lookups ({hits} hits) as on another replica"
                )
