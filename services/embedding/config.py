"""What an operator may set for the embedding service, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from libs.config import ServiceConfig
from services.embedding.manifest import Precision


class EmbeddingConfig(ServiceConfig, env_prefix="EMBEDDING_"):
    """Settings of the embedding service, each read from `EMBEDDING_<FIELD>`."""

    address: str = Field("127.0.0.1:50053", description="where to listen: host:port or unix:path")
    engine: Literal["onnx", "sentence-transformers"] = Field(
        "onnx", description="what runs the model; sentence-transformers needs the extra `torch`"
    )
    model_dir: Path = Field(
        Path(".hasten/model"), description="folder that `make model` has filled"
    )
    precision: Precision = Field(
        Precision.INT8,
        description="graph that engine onnx runs: int8, or fp32, exact at twice the time",
    )
    scorer_precision: Precision = Field(
        Precision.INT8,
        description="graph that scores pairs: int8, or fp32, exact at twice the time",
    )
    threads: int = Field(
        0, ge=0, description="threads of one run; 0 means half of the cores, 1 to 4"
    )
    bulk_threads: int = Field(
        0,
        ge=0,
        description="threads of one run for many texts (StreamEmbeddings) of engine onnx, which a"
        " question's run waits for at most once; 0 means all cores, 4 at most",
    )
    run_tokens: int = Field(
        256,
        ge=1,
        description="tokens that share one run; the longest time a call waits for another's run",
    )
    source_dir: Path | None = Field(
        None,
        description="folder of the model that engine sentence-transformers serves; by default "
        "the one that `python -m services.embedding.build --with-source` keeps",
    )
    source_name: str = Field("all-MiniLM-L6-v2", description="name of the model of `source_dir`")
    scorers: dict[str, Path] = Field(
        default_factory=dict,
        description="JSON object of folders of cross-encoders of sentence-transformers, by the name"
        " that callers ask for, beside the scorers that were built; needs the extra `torch`",
    )
    languages: tuple[str, ...] = Field(
        ("en",), description="JSON list of languages that the model of `source_dir` knows"
    )
    device: str = Field(
        "", description="torch device of what sentence-transformers runs; empty takes the best"
    )
    max_texts: int = Field(64, ge=1, description="texts that one EmbedTexts takes")
    max_stream_texts: int = Field(4096, ge=1, description="texts that one StreamEmbeddings takes")
    max_pairs: int = Field(64, ge=1, description="pairs that one ScorePairs takes")
    max_characters: int = Field(20_000, ge=1, description="characters that a text may have")
    block_texts: int = Field(32, ge=1, description="vectors in one message of StreamEmbeddings")
