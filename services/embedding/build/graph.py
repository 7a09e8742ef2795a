"""A BERT sentence encoder as an ONNX graph, out of its weights alone.

Written node by node, with ONNX Runtime's fused operators, instead of exported: the export
would need torch, and an optimizer to find these same operators again. Token ids go in; out
comes the mean of the last layer over the real tokens, normalised to length 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Part of every fingerprint: to be raised with any change that changes vectors.
GRAPH_VERSION = 1

_FUSED = "com.microsoft"
_OPSET, _FUSED_OPSET, _IR_VERSION = 17, 1, 9
# What ONNX Runtime's quantizer looks for before it advises to optimize a graph first.
_READY_TO_QUANTIZE = {"onnx.quant.pre_process": "onnxruntime.quant"}

Weights = Mapping[str, NDArray[np.float32]]


class UnsupportedModelError(Exception):
    """The model is not the kind of encoder that this module writes."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the weights do not say about the encoder.

    Attributes:
        hidden_size: length of a token's state, and of a vector.
        heads: attention heads of a layer.
        layers: number of layers.
        epsilon: what every layer norm adds to the variance.
    """

    hidden_size: int
    heads: int
    layers: int
    epsilon: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Read the shape from the model's `config.json`.

        Raises:
            UnsupportedModelError: it is not a BERT with exact GELU.
        """
        kind = config.get("model_type"), config.get("hidden_act")
        if kind != ("bert", "gelu"):
            raise UnsupportedModelError(f"model_type, hidden_act are {kind}, not bert, gelu")
        return cls(
            config["hidden_size"],
            config["num_attention_heads"],
            config["num_hidden_layers"],
            config["layer_norm_eps"],
        )


def encoder_graph(weights: Weights, shape: Shape) -> onnx.ModelProto:
    """Return the encoder: `input_ids`, `attention_mask` -> `embedding`."""
    graph = _Graph()
    hidden, mask = _embeddings(graph, weights, shape)
    for number in range(shape.layers):
        hidden = _layer(graph, _below(weights, f"encoder.layer.{number}."), shape, hidden, mask)
    _pooling(graph, hidden)
    return graph.model(shape.hidden_size)


def _embeddings(graph: _Graph, weights: Weights, shape: Shape) -> tuple[str, str]:
    """Add the sum of word and position vectors; return its name and the mask's."""
    below = _below(weights, "embeddings.")
    mask = graph.node("Cast", ["attention_mask"], to=TensorProto.INT32)
    # There is only ever one segment, so its vector can join every position's.
    positions = below["position_embeddings.weight"] + below["token_type_embeddings.weight"][0]
    hidden = graph.node(
        "EmbedLayerNormalization",
        [
            graph.node("Cast", ["input_ids"], to=TensorProto.INT32),
            "",
            graph.constant(below["word_embeddings.weight"]),
            graph.constant(positions),
            "",
            graph.constant(below["LayerNorm.weight"]),
            graph.constant(below["LayerNorm.bias"]),
            mask,
        ],
        outputs=2,
        domain=_FUSED,
        epsilon=shape.epsilon,
    )
    return hidden, mask


def _layer(graph: _Graph, weights: Weights, shape: Shape, hidden: str, mask: str) -> str:
    """Add one layer, attention then feed-forward; return its output's name."""
    attended = _attention(graph, _below(weights, "attention."), shape, hidden, mask)
    grown = graph.product(attended, weights["intermediate.dense.weight"])
    bias = graph.constant(weights["intermediate.dense.bias"])
    active = graph.node("BiasGelu", [grown, bias], domain=_FUSED)
    return _added(graph, _below(weights, "output."), shape, active, attended)


def _attention(graph: _Graph, weights: Weights, shape: Shape, hidden: str, mask: str) -> str:
    names = [f"self.{role}" for role in ("query", "key", "value")]
    # One product instead of three.
    projection = np.concatenate([weights[f"{name}.weight"].T for name in names], axis=1)
    bias = np.concatenate([weights[f"{name}.bias"] for name in names])
    mixed = graph.node(
        "Attention",
        [hidden, graph.constant(projection), graph.constant(bias), mask],
        domain=_FUSED,
        num_heads=shape.heads,
    )
    return _added(graph, _below(weights, "output."), shape, mixed, hidden)


def _added(graph: _Graph, weights: Weights, shape: Shape, values: str, residual: str) -> str:
    """Add a dense layer over `values`, the residual and a layer norm."""
    return graph.node(
        "SkipLayerNormalization",
        [
            graph.product(values, weights["dense.weight"]),
            residual,
            graph.constant(weights["LayerNorm.weight"]),
            graph.constant(weights["LayerNorm.bias"]),
            graph.constant(weights["dense.bias"]),
        ],
        domain=_FUSED,
        epsilon=shape.epsilon,
    )


def _pooling(graph: _Graph, hidden: str) -> None:
    """Add the mean over real tokens, normalised, as the output `embedding`."""
    mask = graph.node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    column = graph.node("Unsqueeze", [mask, graph.constant(np.array([2]))])
    tokens = graph.constant(np.array([1]))
    real = graph.node("Mul", [hidden, column])
    total = graph.node("ReduceSum", [real, tokens], keepdims=0)
    count = graph.node("ReduceSum", [column, tokens], keepdims=0)
    mean = graph.node("Div", [total, count])
    graph.node("LpNormalization", [mean], name="embedding", axis=1, p=2)


def _below(weights: Weights, prefix: str) -> Weights:
    return {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith(prefix)
    }


class _Graph:
    """Collects nodes and constants and names them."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, array: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        name: str = "",
        outputs: int = 1,
        **attributes: Any,
    ) -> str:
        """Add a node and return the name of its first output; an empty input is left out."""
        name = name or f"{operator}_{len(self._nodes)}"
        names = [name, *(f"{name}_{index}" for index in range(1, outputs))]
        node = helper.make_node(operator, inputs, names, name=f"{name}_node", **attributes)
        self._nodes.append(node)
        return name

    def product(self, values: str, weight: NDArray[np.float32]) -> str:
        """Add the product with a dense layer's weight, which is stored transposed."""
        return self.node("MatMul", [values, self.constant(weight.T)])

    def model(self, dimensions: int) -> onnx.ModelProto:
        """Return the finished model."""
        tokens = ["batch", "sequence"]
        graph = helper.make_graph(
            self._nodes,
            "encoder",
            [
                helper.make_tensor_value_info("input_ids", TensorProto.INT64, tokens),
                helper.make_tensor_value_info("attention_mask", TensorProto.INT64, tokens),
            ],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", dimensions])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_FUSED, _FUSED_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        helper.set_model_props(model, _READY_TO_QUANTIZE)
        return model
