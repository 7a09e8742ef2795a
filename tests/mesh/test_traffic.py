"""What the cache does for 20,000 questions that come as questions do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from cli.cache.alone import AloneReplay, StandIn
from cli.cache.replay import FIELDS, Order, show
from cli.cache.rows import read_rows
from cli.cache.tally import Prices
from libs.clients import Connection
from libs.clients.cache import CacheClient
from libs.clients.embedding import EmbeddingClient
from libs.server.testing import serving
from libs.values import Question
from services.cache.verifier import EmbeddingVerifier
from services.embedding.__main__ import build
from services.embedding.config import EmbeddingConfig
from tests.support.zipf import Shape, write
from tests.unit.cache.parts import Documents, cache_process

Pairs = Sequence[tuple[str, str]]

PRICES = Prices(3.0, 15.0)
VERIFIED_SHARE = 0.30


@pytest.fixture
async def embedding(model_dir: Path) -> AsyncIterator[str]:
    """The embedding service's address: it makes the vectors, and verifies."""
    async with build(EmbeddingConfig(model_dir=model_dir)) as served:
        await served.warm()
        async with serving(served.register) as address:
            yield address


@pytest.fixture
async def encoder(embedding: str) -> AsyncIterator[EmbeddingClient]:
    async with Connection.open(embedding) as connection:
        yield EmbeddingClient(connection)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[Pairs]:
    """What the verifier is asked, in order."""
    asked: list[Pairs] = []
    score = EmbeddingVerifier.score

    async def counted(self: EmbeddingVerifier, pairs: Pairs) -> Sequence[float] | None:
        asked.append(pairs)
        return await score(self, pairs)

    monkeypatch.setattr(EmbeddingVerifier, "score", counted)
    return asked


@pytest.fixture
async def cache(redis_url: str, embedding: str) -> AsyncIterator[CacheClient]:
    async with serving(Documents().register) as retrieval:
        async with cache_process(redis_url, retrieval, embedding_target=embedding) as client:
            yield client


def test_the_same_seed_makes_the_same_traffic(eval_data: Path, tmp_path: Path) -> None:
    shape = Shape(count=2_000, distinct=600)
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        write(file, eval_data, Shape(2_000, 600, seed=seed))
    first, second, other = (file.read_text() for file in files)
    assert first == second != other
    rows = [json.loads(line) for line in first.splitlines()]
    groups = {row["group"] for row in rows}
    assert len(rows) == shape.count
    assert 200 < len(groups) < shape.distinct
    assert {group.partition("-")[0] for group in groups} == {"banking77", "clinc150", "nq_open"}
    # Half of them repeat a question word for word; the rest are reworded, most in a way of
    # their own.
    assert len({row["question"] for row in rows}) > 1.5 * len(groups)


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_the_cache_saves_a_share_of_the_calls_of_realistic_traffic(
    eval_data: Path,
    tmp_path: Path,
    cache: CacheClient,
    encoder: EmbeddingClient,
    verified: list[Pairs],
) -> None:
    """Aims: hit rate above 30 %, 40 to 60 % of the calls saved.

    Vectors are made ahead, in blocks; lookups and stores are made one after another, as the
    questions come.
    """
    traffic = tmp_path / "traffic.jsonl"
    await asyncio.to_thread(write, traffic, eval_data, Shape())
    rows = await asyncio.to_thread(read_rows, traffic, FIELDS)
    replay = AloneReplay(cache, encoder, "replay", StandIn())
    tally = await replay.run(rows, lambda: None)
    asked = len({row.fields["group"] for row in rows})
    print(f"\n{asked:,} different questions: {1 - asked / len(rows):.1%} could be saved at most")
    show(Console(width=120), tally, PRICES, Order(Question("replay", ""), stand_in=StandIn()))
    ends = dict((await cache.stats("replay")).lookup_counts)
    print(f"the verifier was asked {len(verified):,} times; ends of lookups: {ends}")
    assert len(verified) / len(rows) <= VERIFIED_SHARE
    assert tally.question_count == tally.judged.total() + len(tally.made) == 20_000
    assert tally.hit_rate > 0.30
    assert tally.calls_saved > 0.40
    assert tally.wrong_rate < 0.05
