"""What turns the encoder into a cross-encoder: a small file of changes to its weights.

A safetensors file, float32 or float16, with the layers named as in the upstream weights:

| tensor | meaning |
|---|---|
| `<layer>.lora_A` [rank, in], `<layer>.lora_B` [out, rank] | `<layer>.weight += scale * B @ A` |
| `<layer>.bias_delta` | `<layer>.bias += delta` |
| `<name>.weight_delta` | `<name>.weight += delta`: segments and layer norms |
| `head.dense.weight` [h, hidden], `head.dense.bias` | optional: a layer with tanh before the last |
| `head.out.weight` [1, h or hidden], `head.out.bias` [1] | the logit |

The file's metadata says `name`, `base_sha256`, `scale`, `pooling`, `max_tokens` and
`temperature`, all as strings. Low-rank changes are those of Hu et al., "LoRA" (ICLR 2022).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from services.embedding.build.graph import Head, Pooling, Weights
from services.embedding.build.wheel import BuildError

# Those that are shipped; a file of this folder is one scorer.
ADAPTERS = Path(__file__).parent.parent / "adapters"

_HEAD = "head."
_LOW_RANK = (".lora_A", ".lora_B")
_DELTA = "_delta"
# A part of a file's name and of a metric's label.
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Adapter:
    """The content of one file.

    Attributes:
        name: name of the scorer that it makes.
        sha256: digest of the file.
        base_sha256: digest of the weights that it was fitted on.
        scale: factor of the low-rank changes.
        max_tokens: tokens that the scorer reads of a pair.
        head: what makes a probability of the last layer.
        changes: the other tensors, by their name in the file.
    """

    name: str
    sha256: str
    base_sha256: str
    scale: float
    max_tokens: int
    head: Head
    changes: Weights

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read an adapter's file.

        Raises:
            BuildError: it cannot be read, or lacks something.
        """
        try:
            with safe_open(path, "np") as file:
                tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118 - no mapping
                return cls._of(path, tensors, file.metadata() or {})
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise BuildError(f"{path} is no adapter: {error!r}") from error

    @classmethod
    def _of(cls, path: Path, tensors: Weights, said: Mapping[str, str]) -> Self:
        if not _NAME.fullmatch(said["name"]):
            raise ValueError(f"name {said['name']!r}")
        return cls(
            name=said["name"],
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            base_sha256=said["base_sha256"],
            scale=float(said["scale"]),
            max_tokens=int(said["max_tokens"]),
            head=_head(tensors, said),
            changes={name: each for name, each in tensors.items() if not name.startswith(_HEAD)},
        )

    def merged(self, weights: Weights, sha256: str) -> Weights:
        """Return the cross-encoder's weights: the base's with the changes made to them.

        Args:
            weights: the base's weights.
            sha256: digest of the file that they are from.

        Raises:
            BuildError: it was fitted on other weights, or does not fit these.
        """
        if sha256 != self.base_sha256:
            raise BuildError(
                f"adapter {self.name} was fitted on weights with SHA-256 {self.base_sha256}, "
                f"these have {sha256}: fit it anew or take it away"
            )
        positions = len(weights["embeddings.position_embeddings.weight"])
        if self.max_tokens > positions:
            raise BuildError(f"adapter {self.name} reads {self.max_tokens} tokens, not {positions}")
        found = dict(weights)
        for name, change in self._sums().items():
            if name not in found or found[name].shape != change.shape:
                raise BuildError(f"adapter {self.name} changes {name}, which the base has not so")
            found[name] = found[name] + change
        return found

    def _sums(self) -> dict[str, NDArray[np.float32]]:
        """Return what is to be added, by the name of the weight."""
        found = {}
        for name, change in self.changes.items():
            if name.endswith(_DELTA):
                found[name.removesuffix(_DELTA)] = change
            elif name.endswith(_LOW_RANK[1]):
                layer = name.removesuffix(_LOW_RANK[1])
                found[f"{layer}.weight"] = self._product(layer, change)
            elif not name.endswith(_LOW_RANK[0]):
                raise BuildError(f"adapter {self.name} has {name}, which has no meaning")
        return found

    def _product(self, layer: str, grown: NDArray[np.float32]) -> NDArray[np.float32]:
        shrunk = self.changes.get(layer + _LOW_RANK[0])
        if shrunk is None or grown.shape[1:] != shrunk.shape[:1]:
            raise BuildError(f"adapter {self.name} has half a change of {layer}")
        return np.float32(self.scale) * (grown @ shrunk)


def read_adapters(folder: Path) -> dict[str, Adapter]:
    """Read every adapter of a folder, by name; a folder that is not there has none.

    Raises:
        BuildError: a file is no adapter, or two have one name.
    """
    found: dict[str, Adapter] = {}
    for path in sorted(folder.glob("*.safetensors")):
        adapter = Adapter.read(path)
        if adapter.name in found:
            raise BuildError(f"{path} is a second adapter named {adapter.name}")
        found[adapter.name] = adapter
    return found


def _head(tensors: Weights, said: Mapping[str, Any]) -> Head:
    dense = "head.dense.weight" in tensors
    temperature = float(said["temperature"])
    if not temperature > 0:
        raise ValueError(f"temperature {temperature}")
    return Head(
        pooling=Pooling(said["pooling"]),
        dense=(tensors["head.dense.weight"], tensors["head.dense.bias"]) if dense else None,
        out=(tensors["head.out.weight"] / temperature, tensors["head.out.bias"] / temperature),
    )
