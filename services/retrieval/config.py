"""What an operator may set for retrieval, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from libs.config import ServiceConfig


class RetrievalConfig(ServiceConfig, env_prefix="RETRIEVAL_"):
    """Settings of the retrieval service, each read from `RETRIEVAL_<FIELD>`."""

    address: str = Field("127.0.0.1:50054", description="where to listen: host:port or unix:path")
    data_dir: Path = Field(Path(".hasten/retrieval"), description="folder that holds the store")
    embedding_target: str = Field("127.0.0.1:50053", description="address of the embedding service")
    embedding_stall_s: float = Field(
        20.0, gt=0, description="seconds without a vector after which embedding is taken for dead"
    )
    chunk_characters: int = Field(
        900, ge=200, le=4_000, description="characters that a passage should have, about"
    )
    readers: int = Field(4, ge=1, le=64, description="searches that read at once; more wait")
    graph_above: int = Field(
        10_000, ge=1_000, description="vectors of a collection and scope that get an HNSW graph"
    )
    graph_threads: int = Field(1, ge=1, description="threads that build a graph")
    reranker: Literal["features", "pairs", "off"] = Field(
        "features",
        description="what puts the best passages in order: a sum of features; pairs, a "
        "cross-encoder of the embedding service; off leaves them as they are fused",
    )
    rerank_scorer: str = Field(
        "relevance", description="scorer of the embedding service that reranker pairs asks"
    )
    rerank_limit_s: float = Field(
        0.1, gt=0, description="seconds that reranker pairs waits at most"
    )
    heartbeat_s: float = Field(
        0.1, gt=0, le=0.2, description="seconds after which a watcher is told that all is well"
    )
