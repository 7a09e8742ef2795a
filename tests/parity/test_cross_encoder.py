"""A cross-encoder of sentence-transformers against the model that it wraps."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.embedding.config import EmbeddingConfig
from services.embedding.engine import Scorer, open_scorers
from services.embedding.manifest import TOKENIZER, ModelFilesError

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("sentence_transformers") is None,
        reason="the extra `torch` is not installed",
    ),
]

PAIRS = [
    ("Who walked on the moon first?", "Neil Armstrong was the first man on the moon."),
    ("moon", "sun"),
    ("When does the store open?", "the sea and the shore " * 40),
]


def transformers() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("transformers")


def save(folder: Path, model_dir: Path, labels: int) -> Path:
    """Write a small cross-encoder, the same each time, with the tokenizer of the default model."""
    (folder / TOKENIZER).write_bytes((model_dir / TOKENIZER).read_bytes())
    settings = {"tokenizer_class": "BertTokenizerFast", "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    kind, torch = transformers(), importlib.import_module("torch")
    torch.manual_seed(5)
    config = kind.BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.5,
        max_position_embeddings=64,
        num_labels=labels,
    )
    kind.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def scorer_of(folder: Path) -> Scorer:
    config = EmbeddingConfig(
        model_dir=folder / "nothing", scorers={"relevance": folder}, device="cpu", threads=1
    )
    return open_scorers(config)["relevance"]


def test_its_scores_are_the_models_own_as_probabilities(tmp_path: Path, model_dir: Path) -> None:
    folder = save(tmp_path, model_dir, labels=1)
    scorer = scorer_of(folder)
    kind, torch = transformers(), importlib.import_module("torch")
    tokenizer = kind.AutoTokenizer.from_pretrained(folder)
    model = kind.BertForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        want = [
            float(
                torch.sigmoid(
                    model(
                        **tokenizer(*pair, truncation=True, max_length=64, return_tensors="pt")
                    ).logits[0, 0]
                )
            )
            for pair in PAIRS
        ]
    assert np.ptp(want) > 0.05
    np.testing.assert_allclose(scorer.score(PAIRS), want, atol=1e-5)
    np.testing.assert_allclose(scorer.score(PAIRS[1:2]), want[1:2], atol=1e-5)
    assert (scorer.model.name, scorer.model.max_tokens) == ("relevance", 64)


def test_its_fingerprint_is_that_of_its_files(tmp_path: Path, model_dir: Path) -> None:
    folder = save(tmp_path, model_dir, labels=1)
    before = scorer_of(folder).model.fingerprint
    assert scorer_of(folder).model.fingerprint == before
    (folder / "README.md").write_text("another model")
    assert scorer_of(folder).model.fingerprint != before


def test_one_that_gives_several_scores_is_refused(tmp_path: Path, model_dir: Path) -> None:
    with pytest.raises(ModelFilesError, match="gives 3 scores to a pair, not one"):
        scorer_of(save(tmp_path, model_dir, labels=3))


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="holds no cross-encoder"):
        scorer_of(tmp_path)
