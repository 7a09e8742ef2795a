from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from services.embedding.build.wheel import Published

HIDDEN, INNER, HEADS, LAYERS = 16, 32, 2, 2
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh"]


@pytest.fixture(scope="session")
def weights() -> dict[str, NDArray[np.float32]]:
    """Weights of a BERT so small that every number of it could be checked by hand."""
    random = np.random.default_rng(7)

    def some(*shape: int) -> NDArray[np.float32]:
        return random.normal(0, 0.5, shape).astype(np.float32)

    def norm(name: str) -> dict[str, NDArray[np.float32]]:
        return {f"{name}.LayerNorm.weight": some(HIDDEN), f"{name}.LayerNorm.bias": some(HIDDEN)}

    def dense(name: str, size_in: int, size_out: int) -> dict[str, NDArray[np.float32]]:
        return {f"{name}.weight": some(size_out, size_in), f"{name}.bias": some(size_out)}

    found = {
        "embeddings.word_embeddings.weight": some(len(WORDS), HIDDEN),
        "embeddings.position_embeddings.weight": some(12, HIDDEN),
        "embeddings.token_type_embeddings.weight": some(2, HIDDEN),
        **norm("embeddings"),
    }
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for role in ("query", "key", "value"):
            found |= dense(f"{layer}.attention.self.{role}", HIDDEN, HIDDEN)
        found |= dense(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        found |= norm(f"{layer}.attention.output")
        found |= dense(f"{layer}.intermediate.dense", HIDDEN, INNER)
        found |= dense(f"{layer}.output.dense", INNER, HIDDEN)
        found |= norm(f"{layer}.output")
    return found


@pytest.fixture(scope="session")
def published(weights: dict[str, NDArray[np.float32]]) -> Published:
    """The small model, as a wheel would hold it."""
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "layer_norm_eps": 1e-12,
    }
    return Published(
        "small",
        ("en",),
        {
            "config.json": json.dumps(config).encode(),
            "sentence_bert_config.json": json.dumps({"max_seq_length": 8}).encode(),
            "model.safetensors": save(weights),
            "tokenizer.json": _tokenizer().to_str().encode(),
        },
    )


def _tokenizer() -> Tokenizer:
    words = {word: number for number, word in enumerate(WORDS)}
    # Words it does not know are "[UNK]", unless told otherwise.
    tokenizer = Tokenizer(models.WordPiece(words))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer
