"""The retrieval process: `python -m services.retrieval`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.clients.connection import Connection
from libs.clients.embedding import EmbeddingClient
from libs.server import Served, run
from services.retrieval.chunking import Chunker
from services.retrieval.config import RetrievalConfig
from services.retrieval.embedder import ServiceEmbedder
from services.retrieval.ingestion import Ingestion
from services.retrieval.library import Library
from services.retrieval.reranking.reranker import FeatureReranker, PairReranker, Reranker
from services.retrieval.reranking.weights import Weights
from services.retrieval.servicer import RetrievalServicer
from services.retrieval.shelf import Shelf
from services.retrieval.store import Store


def main() -> None:
    """Build every part once, by hand, and serve."""
    run(RetrievalConfig, build)


@asynccontextmanager
async def build(config: RetrievalConfig) -> AsyncIterator[Served]:
    """Open the store, load its vectors, and close it again."""
    token = config.token.get_secret_value()
    shelf = Shelf(graph_above=config.graph_above, threads=config.graph_threads)
    async with (
        Connection.open(config.embedding_target, token=token, tls=config.tls) as connection,
        Store.open(config.data_dir, readers=config.readers) as store,
    ):
        client = EmbeddingClient(connection)
        embedder = ServiceEmbedder(client, stall_s=config.embedding_stall_s)
        ingestion = Ingestion(Chunker(config.chunk_characters), embedder)
        async with Library.over(
            store,
            shelf,
            ingestion,
            readers=config.readers,
            heartbeat_s=config.heartbeat_s,
            reranker=await asyncio.to_thread(_reranker, config, client),
        ) as library:
            servicer = RetrievalServicer(library)
            yield Served(
                servicer.NAME,
                servicer.register,
                drain=library.drain,
                watches=servicer.WATCHES,
            )


def _reranker(config: RetrievalConfig, client: EmbeddingClient) -> Reranker | None:
    match config.reranker:
        case "features":
            return FeatureReranker(Weights.shipped())
        case "pairs":
            return PairReranker(client, scorer=config.rerank_scorer, limit_s=config.rerank_limit_s)
        case "off":
            return None


if __name__ == "__main__":
    main()
