from collections.abc import AsyncIterator

import numpy as np
import pytest

from libs.budget import Budget, spending
from libs.clients.connection import Connection
from libs.clients.embedding import EmbeddingClient
from libs.errors import BudgetExhaustedError, DependencyUnavailableError
from libs.server.testing import serving
from services.retrieval.embedder import READ_CHARACTERS, TEXTS_PER_CALL, ServiceEmbedder
from tests.support.retrieval import HashingEmbedder, HashingService


@pytest.fixture
def service() -> HashingService:
    return HashingService(HashingEmbedder(dimensions=4))


@pytest.fixture
async def embedder(service: HashingService) -> AsyncIterator[ServiceEmbedder]:
    async with serving(service.register) as address, Connection.open(address) as connection:
        yield ServiceEmbedder(EmbeddingClient(connection), stall_s=5.0)


async def test_vectors_come_in_the_order_of_the_texts_over_any_number_of_calls(
    service: HashingService, embedder: ServiceEmbedder
) -> None:
    texts = [f"text {n}" for n in range(TEXTS_PER_CALL + 5)]
    vectors = await embedder.embed(texts)
    assert vectors.fingerprint == "hashing"
    wanted = [service.embedder.vector(text) for text in texts]
    assert np.array_equal(vectors.matrix, np.array(wanted))


async def test_no_texts_need_no_call(service: HashingService, embedder: ServiceEmbedder) -> None:
    service.is_frozen = True
    assert len((await embedder.embed([])).matrix) == 0


async def test_only_what_a_model_may_read_is_sent(
    service: HashingService, embedder: ServiceEmbedder
) -> None:
    await embedder.embed(["x" * (READ_CHARACTERS + 1)])
    assert [len(text) for text in service.embedder.texts] == [READ_CHARACTERS]


async def test_a_service_that_refuses_is_a_dependency_that_is_unavailable(
    service: HashingService, embedder: ServiceEmbedder
) -> None:
    service.embedder.is_dead = True
    with pytest.raises(DependencyUnavailableError) as caught:
        await embedder.embed(["x"])
    assert caught.value.retry_after_s == 1.0
    assert caught.value.metadata == {"dependency": "embedding"}


async def test_a_service_that_is_not_there_is_a_dependency_that_is_unavailable() -> None:
    async with Connection.open("127.0.0.1:1") as connection:
        with pytest.raises(DependencyUnavailableError):
            await ServiceEmbedder(EmbeddingClient(connection), stall_s=5.0).embed(["x"])


async def test_a_service_that_falls_silent_is_taken_for_dead(service: HashingService) -> None:
    service.is_frozen = True
    async with serving(service.register) as address, Connection.open(address) as connection:
        with pytest.raises(DependencyUnavailableError, match="nothing came for 0.05 s"):
            await ServiceEmbedder(EmbeddingClient(connection), stall_s=0.05).embed(["x"])


async def test_a_caller_whose_time_ends_is_told_so(
    service: HashingService, embedder: ServiceEmbedder
) -> None:
    service.is_frozen = True
    with spending(Budget.of(0.05)), pytest.raises(BudgetExhaustedError):
        await embedder.embed(["x"])


async def test_vectors_that_are_not_whole_are_not_used(
    service: HashingService, embedder: ServiceEmbedder
) -> None:
    service.leaves_out = 1
    with pytest.raises(DependencyUnavailableError, match="not whole"):
        await embedder.embed(["x", "y"])


async def test_vectors_of_two_models_are_not_mixed(
    service: HashingService, embedder: ServiceEmbedder
) -> None:
    class Changing(HashingEmbedder):
        async def embed(self, texts):  # noqa: ANN001, ANN202 - as the one it stands for
            self.fingerprint += "+"
            return await super().embed(texts)

    service.embedder, service.block_count = Changing(dimensions=4), 1
    with pytest.raises(DependencyUnavailableError, match="model changed"):
        await embedder.embed(["x", "y"])
