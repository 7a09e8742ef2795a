"""What computes vectors and scores, and the choice between those who can."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from libs.config import ConfigError
from services.embedding.config import EmbeddingConfig
from services.embedding.manifest import MANIFEST, SOURCE, Manifest

Pair = tuple[str, str]
# Even a long text gains little from more.
_MOST_THREADS = 4


@dataclass(frozen=True, slots=True)
class Model:
    """What an engine's model is and takes.

    Attributes:
        name: the model's name.
        fingerprint: digest of all that decides what a vector is.
        dimensions: length of a vector.
        languages: languages it knows, as BCP 47 tags.
        max_tokens: tokens it reads of a text; the rest is cut off.
    """

    name: str
    fingerprint: str
    dimensions: int
    languages: tuple[str, ...]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class ScorerModel:
    """What a scorer is and takes.

    Attributes:
        name: the scorer's name.
        fingerprint: digest of all that decides what a score is.
        max_tokens: tokens it reads of a pair; the longer text is cut first.
    """

    name: str
    fingerprint: str
    max_tokens: int


class Engine(Protocol):
    """Turns texts into vectors. Blocks; called from one thread at a time."""

    @property
    def model(self) -> Model:
        """The model behind the vectors."""
        ...

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """Return each text's vector: float32, little endian, L2-normalised.

        A text's vector does not depend on the texts beside it, up to rounding.
        """
        ...

    def embed_bulk(self, texts: Sequence[str]) -> list[bytes]:
        """Return the same vectors for whoever has time: with more threads, if that is quicker."""
        ...


class Scorer(Protocol):
    """Scores pairs of texts. Blocks; called from one thread at a time."""

    @property
    def model(self) -> ScorerModel:
        """The model behind the scores."""
        ...

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """Return each pair's score, a probability in [0, 1].

        A pair's score does not depend on the pairs beside it, up to rounding.
        """
        ...


def open_engine(config: EmbeddingConfig) -> Engine:
    """Load the engine that `config` names; blocks for the time that takes.

    Raises:
        ModelFilesError: its files are missing or damaged.
        ConfigError: its packages are not installed.
    """
    threads = config.threads or default_threads()
    # Imported here, so that neither engine needs the other's packages.
    if config.engine == "sentence-transformers":
        with _needing_torch(f"EMBEDDING_ENGINE={config.engine!r}"):
            from services.embedding.torch_engine import TorchEngine  # noqa: PLC0415
        return TorchEngine(
            config.source_dir or config.model_dir / SOURCE,
            config.source_name,
            languages=config.languages,
            device=config.device,
            threads=threads,
        )
    from services.embedding.onnx_engine import OnnxEngine  # noqa: PLC0415

    return OnnxEngine(
        config.model_dir,
        config.precision,
        threads=threads,
        bulk_threads=config.bulk_threads or min(_MOST_THREADS, _cores()),
    )


def open_scorers(config: EmbeddingConfig) -> dict[str, Scorer]:
    """Load the scorers that were built beside the encoder, and those that `config` names; blocks.

    Returns:
        The scorers by name, whatever the engine; one that is named stands for a built one.

    Raises:
        ModelFilesError: their files are missing or damaged.
        ConfigError: their packages are not installed.
    """
    return {**_built_scorers(config), **_named_scorers(config)}


def _built_scorers(config: EmbeddingConfig) -> dict[str, Scorer]:
    folder = config.model_dir
    if not (folder / MANIFEST).exists() or not (names := Manifest.read(folder).scorers):
        return {}
    from services.embedding.onnx_scorer import OnnxScorer  # noqa: PLC0415

    threads = config.threads or default_threads()
    return {
        name: OnnxScorer(folder, name, config.scorer_precision, threads=threads) for name in names
    }


def _named_scorers(config: EmbeddingConfig) -> dict[str, Scorer]:
    if not config.scorers:
        return {}
    with _needing_torch("EMBEDDING_SCORERS"):
        from services.embedding.torch_scorer import TorchScorer  # noqa: PLC0415

    threads = config.threads or default_threads()
    return {
        name: TorchScorer(folder, name, device=config.device, threads=threads)
        for name, folder in config.scorers.items()
    }


@contextmanager
def _needing_torch(setting: str) -> Iterator[None]:
    """Say which setting needs packages that are not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"{setting} needs the extra `torch`: {error}") from error


def default_threads() -> int:
    """Return the threads of one run: half of the cores this process may use, 1 to 4.

    The other half serves the processes beside it; a short text gains nothing past four.
    """
    return max(1, min(_MOST_THREADS, _cores() // 2))


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
