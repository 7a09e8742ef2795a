"""The built scorer against the reference implementation of BERT, on the same merged weights."""

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from services.embedding.build.__main__ import main
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


@pytest.fixture(scope="module", params=[("cls", 64), ("mean", 0)], ids=["cls-dense", "mean"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the published files and a scorer beside it, which has the file of one adapter."""
    pooling, head_size = request.param
    path = tmp_path_factory.mktemp("scorer")
    assert main(["--out", str(path), "--with-source", "--adapters", str(path / "none")]) == 0
    base = (path / SOURCE / "model.safetensors").read_bytes()
    said = {"pooling": pooling, "max_tokens": "128"}
    write_adapter(path / "adapters" / "a.safetensors", base, head_size=head_size, **said)
    assert main(["--out", str(path), "--with-source", "--adapters", str(path / "adapters")]) == 0
    return path


@pytest.fixture(scope="module")
def reference(folder: Path) -> Callable[[Pair], float]:
    """The score of a pair as torch computes it, one pair at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch  # noqa: PLC0415 - may be missing
        from transformers import AutoTokenizer, BertModel  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(folder / SOURCE)
    model: Any = BertModel.from_pretrained(folder / SOURCE, add_pooling_layer=False).eval()
    adapter = {
        name: torch.from_numpy(each)
        for name, each in load_file(folder / "adapters" / "a.safetensors").items()
    }
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, change in adapter.items():
            if name.endswith(".lora_B"):
                layer = name.removesuffix(".lora_B")
                weights[f"{layer}.weight"] += 2.0 * change @ adapter[f"{layer}.lora_A"]
            elif name.endswith("_delta"):
                weights[name.removesuffix("_delta")] += change

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


@pytest.mark.parametrize(("precision", "most"), [(Precision.FP32, 1e-5), (Precision.INT8, 0.05)])
def test_the_built_scorer_agrees_with_torch(
    folder: Path, reference: Callable[[Pair], float], precision: Precision, most: float
) -> None:
    config = EmbeddingConfig(model_dir=folder, threads=1, scorer_precision=precision)
    found = open_scorers(config)["same_answer"].score(PAIRS)
    want = [reference(pair) for pair in PAIRS]
    assert np.ptp(want) > 0.1
    np.testing.assert_allclose(found, want, atol=most)
