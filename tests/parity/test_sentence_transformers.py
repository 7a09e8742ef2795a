"""The default engine against the library the model was published for."""

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.embedding.build.__main__ import main
from services.embedding.build.adapter import ADAPTERS, read_adapters
from services.embedding.build.model import is_built
from services.embedding.config import EmbeddingConfig
from services.embedding.engine import Engine, open_engine
from services.embedding.manifest import SOURCE, Precision

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("sentence_transformers") is None,
        reason="the extra `torch` is not installed",
    ),
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built model with the published files beside it."""
    path = tmp_path_factory.mktemp("model")
    assert main(["--out", str(path), "--with-source"]) == 0
    assert is_built(path, with_source=True, adapters=read_adapters(ADAPTERS))
    return path


@pytest.fixture(scope="session")
def questions(eval_data: Path) -> list[str]:
    """Two hundred questions that people have typed into a search engine."""
    lines = (eval_data / "nq_open" / "dev.jsonl").read_text("utf-8").splitlines()[:200]
    return [json.loads(line)["question"] for line in lines]


@pytest.fixture(scope="session")
def reference(folder: Path, questions: list[str]) -> NDArray[np.float32]:
    """The library's vectors, by its own call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - may be missing

    found: Any = SentenceTransformer(str(folder / SOURCE), device="cpu").encode(
        questions, normalize_embeddings=True
    )
    return np.asarray(found)


def engine_of(folder: Path, **settings: Any) -> Engine:
    return open_engine(EmbeddingConfig(model_dir=folder, threads=1, **settings))


def cosines(
    engine: Engine, questions: list[str], reference: NDArray[np.float32]
) -> NDArray[np.float32]:
    vectors = np.frombuffer(b"".join(engine.embed(questions)), "<f4")
    return (vectors.reshape(reference.shape) * reference).sum(1)


@pytest.mark.parametrize(("precision", "least"), [(Precision.FP32, 0.9999), (Precision.INT8, 0.98)])
def test_the_built_graph_agrees_with_the_library(
    folder: Path,
    questions: list[str],
    reference: NDArray[np.float32],
    precision: Precision,
    least: float,
) -> None:
    found = cosines(engine_of(folder, precision=precision), questions, reference)
    assert found.min() >= least


def test_the_torch_engine_agrees_with_the_library(
    folder: Path, questions: list[str], reference: NDArray[np.float32]
) -> None:
    engine = engine_of(folder, engine="sentence-transformers", device="cpu")
    assert cosines(engine, questions, reference).min() >= 0.9999


def test_the_engines_describe_one_model_with_fingerprints_of_their_own(folder: Path) -> None:
    onnx = engine_of(folder).model
    torch = engine_of(folder, engine="sentence-transformers", device="cpu").model
    assert (torch.name, torch.dimensions, torch.languages, torch.max_tokens) == (
        onnx.name,
        onnx.dimensions,
        onnx.languages,
        onnx.max_tokens,
    )
    assert torch.fingerprint != onnx.fingerprint


def test_a_long_text_is_cut_alike(folder: Path) -> None:
    text = "who wrote the song about the moon and the sea " * 100
    onnx = engine_of(folder, precision=Precision.FP32)
    torch = engine_of(folder, engine="sentence-transformers", device="cpu")
    a, b = (np.frombuffer(engine.embed([text])[0], "<f4") for engine in (onnx, torch))
    assert float(a @ b) >= 0.9999
