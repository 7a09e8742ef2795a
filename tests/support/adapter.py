"""A seeded adapter that nobody has fitted: its scores mean nothing, and must be computed right."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save_file

Array = NDArray[np.float32]

_RANK = 2


def write_adapter(path: Path, base: bytes, *, head_size: int = 0, **said: str) -> Path:
    """Write an adapter of the weights in `base`, and return its path.

    Args:
        path: file to write.
        base: a safetensors file's bytes.
        head_size: outputs of the head's tanh layer; 0 leaves it out.
        said: metadata over what it has by default.
    """
    weights = load(base)
    metadata = {
        "name": "same_answer",
        "version": "1",
        "base_sha256": hashlib.sha256(base).hexdigest(),
        "scale": "2.0",
        "pooling": "mean",
        "max_tokens": "10",
        "temperature": "1.5",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(_tensors(weights, head_size), path, metadata | said)
    return path


def _tensors(weights: Mapping[str, Array], head_size: int) -> dict[str, Array]:
    random = np.random.default_rng(11)

    def some(*shape: int) -> Array:
        return random.normal(0, 0.05, shape).astype(np.float32)

    found = {}
    # In an order of its own: that of the file is another in each process.
    for name, weight in sorted(weights.items()):
        layer = name.removesuffix(".weight")
        if name.startswith("encoder.") and name.endswith(".weight") and weight.ndim == 2:
            found[f"{layer}.lora_A"] = some(_RANK, weight.shape[1])
            found[f"{layer}.lora_B"] = some(weight.shape[0], _RANK)
            found[f"{layer}.bias_delta"] = some(weight.shape[0])
        elif "LayerNorm" in name or "token_type" in name:
            found[f"{name}_delta"] = some(*weight.shape)
    hidden = weights["embeddings.LayerNorm.weight"].size
    if head_size:
        found["head.dense.weight"] = some(head_size, hidden) * 10
        found["head.dense.bias"] = some(head_size)
    found["head.out.weight"] = some(1, head_size or hidden) * 10
    found["head.out.bias"] = some(1)
    return found
