"""`hasten.embedding.v1.EmbeddingService`: from the wire to the batcher and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from grpc import aio

from hasten.embedding.v1 import embedding_service_pb2 as pb
from hasten.embedding.v1.embedding_service_pb2_grpc import (
    EmbeddingServiceServicer,
    add_EmbeddingServiceServicer_to_server,
)
from libs.budget import current_budget
from libs.errors import InvalidFieldError, NoScorerError, ScorerNotFoundError
from libs.server import current_call
from libs.telemetry import names, span
from libs.values import Timing
from libs.wire import timing_to
from services.embedding.batcher import Batcher, Embedded, Scored
from services.embedding.engine import Model, Pair, ScorerModel


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may ask for.

    Attributes:
        texts: texts that one `EmbedTexts` takes.
        stream_texts: texts that one `StreamEmbeddings` takes.
        characters: characters that a text may have.
        block_texts: texts of one message of `StreamEmbeddings`.
        pairs: pairs that one `ScorePairs` takes.
    """

    texts: int = 64
    stream_texts: int = 4096
    characters: int = 20_000
    block_texts: int = 32
    pairs: int = 64


class EmbeddingServicer(EmbeddingServiceServicer):
    """Checks calls and hands them to one batcher."""

    NAME = pb.DESCRIPTOR.services_by_name["EmbeddingService"].full_name

    def __init__(
        self, batcher: Batcher, model: Model, limits: Limits, scorers: Sequence[ScorerModel] = ()
    ) -> None:
        self._batcher = batcher
        self._model = model
        self._limits = limits
        self._scorers = {scorer.name: scorer for scorer in scorers}
        self._span_attributes = {
            names.GEN_AI_OPERATION: "embeddings",
            names.GEN_AI_REQUEST_MODEL: model.name,
        }

    def register(self, server: aio.Server) -> None:
        """Attach this servicer to a server."""
        add_EmbeddingServiceServicer_to_server(self, server)

    async def EmbedTexts(
        self, request: pb.EmbedTextsRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.EmbedTextsResponse:
        self._check(request.texts, self._limits.texts)
        embedded = await self._embed(request.texts, bulk=False)
        timing = current_call().timing(embedded.queue_s, batch_size=embedded.batch_size)
        return pb.EmbedTextsResponse(
            vectors=embedded.vectors,
            dimensions=self._model.dimensions,
            fingerprint=self._model.fingerprint,
            timing=timing_to(timing),
        )

    async def StreamEmbeddings(
        self, request: pb.StreamEmbeddingsRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.StreamEmbeddingsResponse]:
        self._check(request.texts, self._limits.stream_texts)
        for first in range(0, len(request.texts), self._limits.block_texts):
            block = request.texts[first : first + self._limits.block_texts]
            embedded = await self._embed(block, bulk=True)
            timing = Timing(embedded.queue_s, embedded.compute_s, batch_size=embedded.batch_size)
            yield pb.StreamEmbeddingsResponse(
                first_index=first,
                vectors=embedded.vectors,
                dimensions=self._model.dimensions,
                fingerprint=self._model.fingerprint,
                timing=timing_to(timing),
            )

    async def ScorePairs(
        self, request: pb.ScorePairsRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ScorePairsResponse:
        self._check_pairs(request)
        scorer = self._scorer(request.scorer)
        scored = await self._score(scorer.name, [(pair.a, pair.b) for pair in request.pairs])
        timing = current_call().timing(scored.queue_s, batch_size=scored.batch_size)
        return pb.ScorePairsResponse(
            scores=scored.scores,
            scorer=scorer.name,
            fingerprint=scorer.fingerprint,
            timing=timing_to(timing),
        )

    async def GetModel(
        self, request: pb.GetModelRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.GetModelResponse:
        return pb.GetModelResponse(
            name=self._model.name,
            fingerprint=self._model.fingerprint,
            dimensions=self._model.dimensions,
            languages=self._model.languages,
            max_tokens=self._model.max_tokens,
            max_texts=self._limits.texts,
            max_stream_texts=self._limits.stream_texts,
            max_characters=self._limits.characters,
            timing=timing_to(current_call().timing()),
            max_pairs=self._limits.pairs,
            scorers=[
                pb.Scorer(name=each.name, fingerprint=each.fingerprint, max_tokens=each.max_tokens)
                for each in self._scorers.values()
            ],
        )

    async def _embed(self, texts: Sequence[str], *, bulk: bool) -> Embedded:
        with span(f"embeddings {self._model.name}", self._span_attributes):
            return await self._batcher.embed(texts, budget=current_budget(), bulk=bulk)

    async def _score(self, scorer: str, pairs: Sequence[Pair]) -> Scored:
        with span(f"score {scorer}", {names.GEN_AI_REQUEST_MODEL: scorer}):
            return await self._batcher.score(scorer, pairs, budget=current_budget())

    def _scorer(self, name: str) -> ScorerModel:
        if not self._scorers:
            raise NoScorerError(
                f"no scorer {name!r}: the model was built without an adapter", scorer=name
            )
        if name not in self._scorers:
            known = ", ".join(self._scorers)
            raise ScorerNotFoundError(f"no scorer {name!r}; there is {known}", scorer=name)
        return self._scorers[name]

    def _check_pairs(self, request: pb.ScorePairsRequest) -> None:
        most, count = self._limits.pairs, len(request.pairs)
        if not request.scorer:
            raise InvalidFieldError("scorer", "must have at least 1 character, has 0")
        if not count:
            raise InvalidFieldError("pairs", "must have at least 1 pair, has 0")
        if count > most:
            raise InvalidFieldError("pairs", f"must have at most {most} pairs, has {count}")
        for index, pair in enumerate(request.pairs):
            self._check_text(f"pairs[{index}].a", pair.a)
            self._check_text(f"pairs[{index}].b", pair.b)

    def _check(self, texts: Sequence[str], most: int) -> None:
        if not texts:
            raise InvalidFieldError("texts", "must have at least 1 text, has 0")
        if len(texts) > most:
            raise InvalidFieldError("texts", f"must have at most {most} texts, has {len(texts)}")
        for index, text in enumerate(texts):
            self._check_text(f"texts[{index}]", text)

    def _check_text(self, field: str, text: str) -> None:
        most = self._limits.characters
        if not text:
            raise InvalidFieldError(field, "must have at least 1 character, has 0")
        if len(text) > most:
            raise InvalidFieldError(field, f"must have at most {most} characters, has {len(text)}")
