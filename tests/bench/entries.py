"""A hit by meaning among many stored answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cli.cache.working import at_once, patiently
from cli.clients import connected
from libs.clients.cache import CacheClient
from libs.clients.embedding import EmbeddingClient
from libs.resilience import background
from libs.values.keys import normalised
from services.cache.entry import Entry, decode, encode
from tests.bench.rig import STORED, TENANT, Rig, about
from tests.bench.timing import Turns, in_turns, percentile
from tests.bench.used import peak_mib, settled

# So many questions are embedded; further ones lie around these, as other wordings do.
_EMBEDDED = 2_000
_BATCH = 32
# Of noise of length 1 on a vector of length 1: a cosine of about 0.94 to what it is made of.
_NOISE = 0.35
_AT_ONCE = 16
_LIMIT_S = 20.0
_TRIES, _PAUSE_S = 20, 0.5
_LOOK_S = 0.25
_INDEXED_WITHIN_S = 120.0
# The graph over many vectors is built in the background; only then a search is quick.
_SETTLED_WITHIN_S = 400.0
_TURNS = Turns(rounds=10, per_round=20)


async def measure_entries(rig: Rig, count: int) -> dict[str, float]:
    """Fill the cache up to `count` answers, and return what a hit by meaning takes then."""
    rig.console.print(f"storing up to {count:,} answers")
    await fill(rig, count)
    found = await in_turns({"exact": rig.exact, "semantic": rig.semantic}, _TURNS)
    p50_ms = percentile(found["semantic"], 50)
    return {
        f"semantic_{count}_over_exact": p50_ms / percentile(found["exact"], 50),
        f"semantic_{count}_ms": p50_ms,
        f"semantic_{count}_p95_ms": percentile(found["semantic"], 95),
        f"peak_mib_cache_{count}": peak_mib(rig.pid("cache")),
        f"peak_mib_redis_{count}": peak_mib(rig.pid("redis")),
    }


async def fill(rig: Rig, count: int) -> None:
    """Store answers until the cache finds `count` by meaning, and wait until it is at rest."""
    async with (
        connected(rig.place, "cache") as connection,
        connected(rig.place, "embedding") as embedding,
    ):
        cache = CacheClient(connection)
        there = (await cache.stats(TENANT, limit_s=_LIMIT_S)).semantic_entry_count
        model = await _stored(cache)
        embedded = await _embedded(EmbeddingClient(embedding), rig.texts)
        entries = list_of(model, rig.texts, embedded, there, count)

        async def store(entry: Entry) -> None:
            record, reason = encode(entry), ""
            for _ in range(_TRIES):
                stored = await patiently(lambda: cache.restore(TENANT, record, limit_s=_LIMIT_S))
                if stored.stored:
                    return
                reason = stored.reason
                # Redis that is slow for a moment is not asked for a while.
                await asyncio.sleep(_PAUSE_S)
            raise ValueError(f"an answer was not stored: {reason}")

        with background():
            await at_once(_AT_ONCE, entries, store)
        await _indexed(cache, count)
    await settled(rig.pid("cache"), _SETTLED_WITHIN_S)


def list_of(
    model: Entry, texts: Sequence[str], embedded: NDArray[np.float32], start: int, end: int
) -> Iterator[Entry]:
    """Yield the answers `start` to `end`: like `model`, but to questions about the texts.

    All are of the model's context, so that a search has all of them to look through.
    """
    numbers = np.random.default_rng(11)
    for number in range(start, end):
        which, again = number % len(embedded), number // len(embedded)
        question = about(texts[which])
        vector = embedded[which]
        if again:
            question = f"{question} See part {again}."
            vector = _near(vector, numbers)
        name = f"filled-{number}"
        yield replace(
            model,
            key=f"{number:064x}",
            entry_id=name,
            question=normalised(question),
            prompt="",
            vector=vector.astype("<f4").tobytes(),
        )


def _near(vector: NDArray[np.float32], numbers: np.random.Generator) -> NDArray[np.float32]:
    noise = numbers.normal(size=len(vector))
    moved = vector + _NOISE * noise / np.linalg.norm(noise)
    return np.asarray(moved / np.linalg.norm(moved), np.float32)


async def _stored(cache: CacheClient) -> Entry:
    async with cache.export(TENANT, limit_s=_LIMIT_S) as answers:
        async for each in answers:
            if each.question == normalised(STORED):
                return decode(each.record)
    raise ValueError("the answer that is asked for is not stored")


async def _embedded(client: EmbeddingClient, texts: Sequence[str]) -> NDArray[np.float32]:
    questions = [about(text) for text in texts[:_EMBEDDED]]
    rows = []
    for start in range(0, len(questions), _BATCH):
        batch = questions[start : start + _BATCH]
        vectors = await client.embed(batch, limit_s=_LIMIT_S)
        rows += [np.frombuffer(vectors[index], "<f4") for index in range(len(batch))]
    return np.stack(rows)


async def _indexed(cache: CacheClient, count: int) -> None:
    async with asyncio.timeout(_INDEXED_WITHIN_S):
        # Nobody is told when an entry can be found.
        while (await cache.stats(TENANT, limit_s=_LIMIT_S)).semantic_entry_count < count:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
