"""The embedding service, as its callers see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from hasten.embedding.v1 import embedding_service_pb2 as pb
from hasten.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from libs.clients.connection import Connection
from libs.values.embedding import SAME_ANSWER, Embeddings, ModelInfo, ScorerInfo, Scores
from libs.wire import timing_from


class EmbeddingClient:
    """Calls the embedding service over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._spare: EmbeddingClient | None = None
        self._stub = EmbeddingServiceStub(connection.channel)

    @property
    def backend_count(self) -> int:
        """Backends that share the calls, as far as is known."""
        return self._connection.backend_count

    def spare(self) -> EmbeddingClient:
        """Return a client over connections of its own, for a call that is made twice."""
        if self._spare is None:
            spare = self._connection.spare()
            self._spare = self if spare is self._connection else EmbeddingClient(spare)
        return self._spare

    def may_hedge(self) -> bool:
        """Take a second call out of the allowance; no while the breaker is open."""
        return self._connection.may_hedge()

    async def embed(self, texts: Sequence[str], *, limit_s: float | None = None) -> Embeddings:
        """Return the vectors of up to `max_texts` texts.

        Raises:
            InvalidFieldError: no text, too many, an empty or an over-long one.
            BudgetExhaustedError: there was not enough time.
        """
        request = pb.EmbedTextsRequest(texts=texts)
        response = await self._connection.unary(self._stub.EmbedTexts, request, limit_s=limit_s)
        return _embeddings_from(response, 0)

    @asynccontextmanager
    async def stream(
        self, texts: Sequence[str], *, limit_s: float | None = None
    ) -> AsyncIterator[AsyncIterator[Embeddings]]:
        """Yield the vectors of many texts, block by block, behind the calls of `embed`.

        Raises:
            InvalidFieldError: as `embed`, but up to `max_stream_texts` texts.
            BudgetExhaustedError: there was not enough time.
        """
        request = pb.StreamEmbeddingsRequest(texts=texts)
        method = self._stub.StreamEmbeddings
        async with self._connection.stream(method, request, limit_s=limit_s) as messages:
            yield (_embeddings_from(message, message.first_index) async for message in messages)

    async def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        scorer: str = SAME_ANSWER,
        limit_s: float | None = None,
    ) -> Scores:
        """Return how a scorer judges up to `max_pairs` pairs of texts.

        Raises:
            InvalidFieldError: no pair, too many, or an empty or over-long text.
            ScorerNotFoundError: the service has other scorers than this one.
            NoScorerError: the service has no scorer.
            BudgetExhaustedError: there was not enough time.
        """
        wanted = [pb.TextPair(a=a, b=b) for a, b in pairs]
        request = pb.ScorePairsRequest(scorer=scorer, pairs=wanted)
        response = await self._connection.unary(self._stub.ScorePairs, request, limit_s=limit_s)
        return _scores_from(response)

    async def model(self, *, limit_s: float | None = None) -> ModelInfo:
        """Return what the model is and takes."""
        request = pb.GetModelRequest()
        response = await self._connection.unary(self._stub.GetModel, request, limit_s=limit_s)
        return _model_from(response)


def _embeddings_from(
    message: pb.EmbedTextsResponse | pb.StreamEmbeddingsResponse, first_index: int
) -> Embeddings:
    return Embeddings(
        message.vectors,
        message.dimensions,
        message.fingerprint,
        timing_from(message.timing),
        first_index,
    )


def _scores_from(message: pb.ScorePairsResponse) -> Scores:
    return Scores(
        tuple(message.scores), message.scorer, message.fingerprint, timing_from(message.timing)
    )


def _model_from(message: pb.GetModelResponse) -> ModelInfo:
    return ModelInfo(
        message.name,
        message.fingerprint,
        message.dimensions,
        tuple(message.languages),
        message.max_tokens,
        message.max_texts,
        message.max_stream_texts,
        message.max_characters,
        message.max_pairs,
        tuple(ScorerInfo(each.name, each.fingerprint, each.max_tokens) for each in message.scorers),
    )
