"""`hasten cache eval`: how well the cache tells the same question from another."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cli.clients import connected
from cli.home import Place
from cli.pairing import LabelledPair, NotStoredError, Outcome, by_kind, curves, summary
from libs.clients.cache import CacheClient
from libs.clients.embedding import EmbeddingClient
from libs.values import AnswerEvent, CacheLayer, FinishReason, Quality, TextDelta
from libs.values.cache import Answer, AskedQuestion, Everything, Lookup

_LIMIT_S = 10.0
_BLOCK = 32
# How long what was stored may take to be found by meaning.
_SEEN_S = 5.0
_LOOK_S = 0.01


async def evaluate(place: Place, pairs: Sequence[LabelledPair], console: Console) -> list[Outcome]:
    """Store the first question of each pair, look up the second, and tell what came of it.

    Each pair has a scope of its own, so that none can meet another's answer, and all of
    them a tenant that is emptied afterwards.

    Raises:
        NotStoredError: the cache keeps nothing.
        MeshError: the mesh failed.
    """
    tenant = f"eval-{secrets.token_hex(6)}"
    async with _clients(place) as (cache, embedding):
        outcomes: list[Outcome] = []
        try:
            starts = range(0, len(pairs), _BLOCK)
            for start in track(starts, "judging pairs", console=console, transient=True):
                block = pairs[start : start + _BLOCK]
                outcomes += await _judged(cache, embedding, tenant, block, start)
        finally:
            await cache.invalidate(tenant, Everything(), limit_s=_LIMIT_S)
    return outcomes


def report(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return all figures as one object."""
    return {**summary(outcomes), "kinds": by_kind(outcomes), "curves": curves(outcomes)}


def tell(outcomes: Sequence[Outcome], console: Console, *, as_json: bool) -> None:
    """Print the figures."""
    if as_json:
        typer.echo(json.dumps(report(outcomes)))
        return
    table = Table(box=None)
    for column in ("kind", "pairs", "recall", "false reuse", "cosine 0.92", "false reuse"):
        table.add_column(column)
    rows = {"all": summary(outcomes), **by_kind(outcomes)}
    for kind, row in rows.items():
        plain = row["cosine"]["0.92"]
        figures = (row["recall"], row["false_reuse"], plain["recall"], plain["false_reuse"])
        table.add_row(kind, str(row["pairs"]), *map(_percent, figures))
    console.print(table)


@asynccontextmanager
async def _clients(place: Place) -> AsyncIterator[tuple[CacheClient, EmbeddingClient]]:
    async with connected(place, "cache") as cache, connected(place, "embedding") as embedding:
        yield CacheClient(cache), EmbeddingClient(embedding)


async def _judged(
    cache: CacheClient,
    embedding: EmbeddingClient,
    tenant: str,
    pairs: Sequence[LabelledPair],
    start: int,
) -> list[Outcome]:
    texts = [text for pair in pairs for text in (pair.a, pair.b)]
    vectors = await embedding.embed(texts, limit_s=_LIMIT_S)
    rows = [(vectors[2 * index], vectors[2 * index + 1]) for index in range(len(pairs))]
    scopes = [f"pair-{start + index}" for index in range(len(pairs))]
    fingerprint = vectors.fingerprint
    before = (await cache.stats(tenant, limit_s=_LIMIT_S)).semantic_entry_count
    for pair, scope, (stored, _) in zip(pairs, scopes, rows, strict=True):
        await _store(cache, tenant, AskedQuestion(pair.a, scope=scope), stored, fingerprint)
    await _seen(cache, tenant, before + len(pairs))
    outcomes: list[Outcome] = []
    for pair, scope, (stored, asked) in zip(pairs, scopes, rows, strict=True):
        lookup = Lookup(
            tenant,
            CacheLayer.SEMANTIC,
            AskedQuestion(pair.b, scope=scope),
            embedding=asked,
            embedding_fingerprint=fingerprint,
        )
        decision = (await cache.find(lookup, limit_s=_LIMIT_S)).decision
        cosine = float(np.frombuffer(stored, "<f4") @ np.frombuffer(asked, "<f4"))
        outcomes.append(Outcome(pair, decision.hit, decision.reason, cosine, decision.probability))
    return outcomes


async def _store(
    cache: CacheClient, tenant: str, asked: AskedQuestion, vector: bytes, fingerprint: str
) -> None:
    answer = Answer(
        tenant,
        asked,
        secrets.token_hex(8),
        (AnswerEvent(1, TextDelta(asked.question)),),
        FinishReason.END_TURN,
        Quality.FULL,
        embedding=vector,
        embedding_fingerprint=fingerprint,
    )
    stored = await cache.store(answer, limit_s=_LIMIT_S)
    if not stored.stored:
        raise NotStoredError(f"the cache did not keep {asked.question!r}: {stored.reason}")


async def _seen(cache: CacheClient, tenant: str, count: int) -> None:
    """Wait until the replica that answers knows as many entries."""
    end_s = time.monotonic() + _SEEN_S
    while (await cache.stats(tenant, limit_s=_LIMIT_S)).semantic_entry_count < count:
        if time.monotonic() > end_s:
            raise NotStoredError(f"the cache found less than {count} answers by meaning in time")
        await asyncio.sleep(_LOOK_S)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
