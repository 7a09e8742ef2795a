"""Who puts the passages that were found into a better order; what goes wrong is no order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from libs.budget import current_budget
from libs.clients.embedding import EmbeddingClient
from libs.errors import MeshError
from services.retrieval.reranking.features import Asked, Candidate, features
from services.retrieval.reranking.weights import Weights

# Passages that are put in order; those below stay where they are. On the development set the
# right one is among them for every question.
DEPTH = 20
# Of what is left of the caller's time, so that the list still reaches it.
_SHARE = 0.6
# What cross-encoders read of a passage: 256 to 512 tokens.
_READ_CHARACTERS = 2_000
_LOG = logging.getLogger(__name__)


class Reranker(Protocol):
    """Says how likely each passage is to answer a question."""

    async def scores(self, asked: Asked, candidates: Sequence[Candidate]) -> Sequence[float] | None:
        """Return a score for each candidate, larger is likelier; None if there is none in time."""


class FeatureReranker:
    """A weighted sum of features, about a tenth of a millisecond a passage."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    async def scores(self, asked: Asked, candidates: Sequence[Candidate]) -> Sequence[float] | None:
        """Return the weighted sums."""
        return await asyncio.to_thread(self.scored, asked, candidates)

    def scored(self, asked: Asked, candidates: Sequence[Candidate]) -> list[float]:
        """Return the weighted sums; blocks."""
        found: list[float] = self._weights.scores(features(asked, candidates)).tolist()
        return found


class PairReranker:
    """Asks a cross-encoder of the embedding service, within what is left of the caller's time."""

    def __init__(self, client: EmbeddingClient, *, scorer: str, limit_s: float) -> None:
        """Ask this service.

        Args:
            client: of the embedding service.
            scorer: name of the scorer there.
            limit_s: seconds that it is waited for at most.
        """
        self._client = client
        self._scorer = scorer
        self._limit_s = limit_s

    async def scores(self, asked: Asked, candidates: Sequence[Candidate]) -> Sequence[float] | None:
        """Return the scorer's judgement of each pair of question and passage."""
        if not candidates:
            return ()
        pairs = [(asked.question, _text(each)) for each in candidates]
        budget = current_budget()
        left_s = self._limit_s if budget is None else budget.remaining_s() * _SHARE
        limit_s = min(left_s, self._limit_s)
        try:
            found = await self._client.score(pairs, scorer=self._scorer, limit_s=limit_s)
        except MeshError as error:
            _LOG.debug("passages were not put in order: %s", error)
            return None
        return found.values if len(found.values) == len(candidates) else None


def _text(candidate: Candidate) -> str:
    parts = (candidate.title, candidate.heading, candidate.text)
    return "\n".join(part for part in parts if part)[:_READ_CHARACTERS]
