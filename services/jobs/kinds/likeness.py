"""Which of some descriptions a text is nearest to, where no model can be asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing

import numpy as np
from numpy.typing import NDArray

from libs.clients.embedding import EmbeddingClient
from libs.errors import MeshError
from libs.values.embedding import Embeddings
from services.jobs.kinds.words import cosine, vectors, words_of

Nearest = tuple[str, int | None, float]
"""A text, the place of the description that is clearly nearest to it, and how near it is."""

# Cosines of vectors of the default encoder: what has nothing in common lies about 0.05, and a
# short text about 0.3 from the name of what it is about. Chosen by hand, to err on no label.
_LEAST_BY_MEANING, _LEAD_BY_MEANING = 0.18, 0.03
_LEAST_BY_WORDS, _LEAD_BY_WORDS = 0.05, 0.02
_EMBEDDED_AT_ONCE = 32
_EMBEDDED_CHARS = 2_000
_LIMIT_S = 60.0


async def likeness(
    texts: Sequence[str], descriptions: Sequence[str], client: EmbeddingClient | None
) -> AsyncIterator[Nearest]:
    """Yield each text with the description that is clearly nearest to it, if there is one.

    By meaning, or by words where that cannot be had.
    """
    count = 0
    if client is not None:
        # Where it fails, those that are left are compared by words.
        with contextlib.suppress(MeshError):
            async with aclosing(_by_meaning(texts, descriptions, client)) as found:
                async for each in found:
                    count += 1
                    yield each
    for nearest in await asyncio.to_thread(list, _by_words(texts[count:], descriptions)):
        yield nearest


async def _by_meaning(
    texts: Sequence[str], descriptions: Sequence[str], client: EmbeddingClient
) -> AsyncGenerator[Nearest]:
    against = await _matrix(descriptions, client)
    for start in range(0, len(texts), _EMBEDDED_AT_ONCE):
        block = texts[start : start + _EMBEDDED_AT_ONCE]
        scores = await _matrix(block, client) @ against.T
        for text, row in zip(block, scores.tolist(), strict=True):
            yield _nearest(text, row, _LEAST_BY_MEANING, _LEAD_BY_MEANING)


async def _matrix(texts: Sequence[str], client: EmbeddingClient) -> NDArray[np.float32]:
    blocks = [
        _rows(await client.embed([text[:_EMBEDDED_CHARS] for text in block], limit_s=_LIMIT_S))
        for block in _blocks(texts)
    ]
    return np.concatenate(blocks)


def _blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), _EMBEDDED_AT_ONCE):
        yield texts[start : start + _EMBEDDED_AT_ONCE]


def _rows(made: Embeddings) -> NDArray[np.float32]:
    return np.frombuffer(made.vectors, "<f4").reshape(len(made), made.dimensions)


def _by_words(texts: Sequence[str], descriptions: Sequence[str]) -> Iterator[Nearest]:
    made = vectors([words_of(each) for each in (*descriptions, *texts)])
    against = made[: len(descriptions)]
    for text, vector in zip(texts, made[len(descriptions) :], strict=True):
        scores = [cosine(vector, each) for each in against]
        yield _nearest(text, scores, _LEAST_BY_WORDS, _LEAD_BY_WORDS)


def _nearest(text: str, scores: Sequence[float], least: float, lead: float) -> Nearest:
    best, *others = sorted(range(len(scores)), key=lambda place: -scores[place])
    second = scores[others[0]] if others else 0.0
    is_clear = scores[best] >= least and scores[best] - second >= lead
    return text, best if is_clear else None, scores[best]
