"""The verifier over a real connection: no answer is None, never an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from grpc import aio

from hasten.embedding.v1 import embedding_service_pb2 as pb
from hasten.embedding.v1.embedding_service_pb2_grpc import (
    EmbeddingServiceServicer,
    add_EmbeddingServiceServicer_to_server,
)
from libs.clients import Connection
from libs.clients.embedding import EmbeddingClient
from libs.errors import NoScorerError
from libs.server.testing import serving
from services.cache.verifier import EmbeddingVerifier

PAIRS = (("how late is it", "what is the time"),)


class Scorer(EmbeddingServiceServicer):
    """An embedding service with one opinion, or none."""

    def __init__(self, scores: Sequence[float] | None) -> None:
        self.scores = scores

    def register(self, server: aio.Server) -> None:
        add_EmbeddingServiceServicer_to_server(self, server)

    async def ScorePairs(
        self, request: pb.ScorePairsRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ScorePairsResponse:
        if self.scores is None:
            raise NoScorerError("the model was built without a scorer")
        assert [(pair.a, pair.b) for pair in request.pairs] == list(PAIRS)
        return pb.ScorePairsResponse(scores=self.scores, scorer=request.scorer)


async def test_the_services_scores_are_the_verifiers() -> None:
    async with serving(Scorer([0.75]).register) as address, Connection.open(address) as connection:
        client = EmbeddingClient(connection)
        assert await EmbeddingVerifier(client, limit_s=10.0).score(PAIRS) == pytest.approx((0.75,))


async def test_a_service_without_a_scorer_has_no_opinion() -> None:
    async with serving(Scorer(None).register) as address, Connection.open(address) as connection:
        client = EmbeddingClient(connection)
        assert await EmbeddingVerifier(client, limit_s=10.0).score(PAIRS) is None


async def test_a_service_that_is_not_there_has_no_opinion() -> None:
    async with Connection.open("127.0.0.1:1") as connection:
        verifier = EmbeddingVerifier(EmbeddingClient(connection), limit_s=0.2)
        assert await verifier.score(PAIRS) is None
