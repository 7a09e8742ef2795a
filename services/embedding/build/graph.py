"""A BERT sentence encoder as an ONNX graph, out of its weights alone.

Written node by node, with ONNX Runtime's fused operators, instead of exported: the export
would need torch, and an optimizer to find these same operators again. Token ids go in; out
comes the mean of the last layer over the real tokens, normalised to length 1. The same
layers below another end are a cross-encoder: out comes a probability for each pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Part of every fingerprint: to be raised with any change that changes vectors.
GRAPH_VERSION = 1
# To be raised with any change of the files: what was built by other code is built anew.
BUILD_VERSION = 2
# The same for scores, of which vectors know nothing.
SCORER_GRAPH_VERSION = 1
# What is too small to gain from int8, and too near to the score.
HEAD_NODES = ("head_dense_node", "head_out_node")

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


class Pooling(StrEnum):
    """How the states of all tokens become one."""

    CLS = "cls"
    MEAN = "mean"


Layer = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Head:
    """What makes a probability of a cross-encoder's last layer.

    Attributes:
        pooling: what it looks at.
        dense: weight and bias of a layer with tanh; None if there is none.
        out: weight and bias of the logit, divided by the temperature.
    """

    pooling: Pooling
    dense: Layer | None
    out: Layer


def encoder_graph(weights: Weights, shape: Shape) -> onnx.ModelProto:
    """Return the encoder: `input_ids`, `attention_mask` -> `embedding`."""
    graph = _Graph()
    hidden = _layers(graph, weights, shape, segments=False)
    graph.node("LpNormalization", [_mean(graph, hidden)], name="embedding", axis=1, p=2)
    return graph.model(["input_ids", "attention_mask"], "embedding", ["batch", shape.hidden_size])


def scorer_graph(weights: Weights, shape: Shape, head: Head) -> onnx.ModelProto:
    """Return the cross-encoder: `input_ids`, `attention_mask`, `token_type_ids` -> `score`."""
    graph = _Graph()
    hidden = _layers(graph, weights, shape, segments=True)
    state = _mean(graph, hidden) if head.pooling is Pooling.MEAN else _first(graph, hidden)
    if head.dense is not None:
        state = graph.node("Tanh", [graph.dense(state, head.dense, "head_dense")])
    column = graph.node("Sigmoid", [graph.dense(state, head.out, "head_out")])
    graph.node("Squeeze", [column, graph.constant(np.array([1]))], name="score")
    return graph.model(["input_ids", "attention_mask", "token_type_ids"], "score", ["batch"])


def _layers(graph: _Graph, weights: Weights, shape: Shape, *, segments: bool) -> str:
    """Add everything from the tokens to the last layer; return its output's name."""
    hidden, mask = _embeddings(graph, weights, shape, segments=segments)
    for number in range(shape.layers):
        hidden = _layer(graph, _below(weights, f"encoder.layer.{number}."), shape, hidden, mask)
    return hidden


def _embeddings(
    graph: _Graph, weights: Weights, shape: Shape, *, segments: bool
) -> tuple[str, str]:
    """Add the sum of word, position and segment vectors; return its name and the mask's."""
    below = _below(weights, "embeddings.")
    mask = graph.node("Cast", ["attention_mask"], to=TensorProto.INT32)
    positions, kinds = below["position_embeddings.weight"], below["token_type_embeddings.weight"]
    segment_ids, segment_vectors = "", ""
    if segments:
        segment_ids = graph.node("Cast", ["token_type_ids"], to=TensorProto.INT32)
        segment_vectors = graph.constant(kinds)
    else:
        # There is only ever one segment, so its vector can join every position's.
        positions = positions + kinds[0]
    hidden = graph.node(
        "EmbedLayerNormalization",
        [
            graph.node("Cast", ["input_ids"], to=TensorProto.INT32),
            segment_ids,
            graph.constant(below["word_embeddings.weight"]),
            graph.constant(positions),
            segment_vectors,
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
    dense = graph.product(values, weights["dense.weight"])
    biased = graph.node("Add", [dense, graph.constant(weights["dense.bias"])])
    return _normed(
        graph, _below(weights, "LayerNorm."), shape, graph.node("Add", [biased, residual])
    )


def _normed(graph: _Graph, weights: Weights, shape: Shape, values: str) -> str:
    """Add a layer norm over `values`, spelled as an instance norm of which each token is one.

    The same sums; but ONNX Runtime 1.32 adds up a layer norm number by number, and an
    instance norm with vector instructions: a dense layer's norm takes a fifth of the time.
    """
    normed = graph.node(
        "InstanceNormalization",
        [values, graph.one_a_token(1.0), graph.one_a_token(0.0)],
        epsilon=shape.epsilon,
    )
    scaled = graph.node("Mul", [normed, graph.constant(weights["weight"])])
    return graph.node("Add", [scaled, graph.constant(weights["bias"])])


def _first(graph: _Graph, hidden: str) -> str:
    """Add the state of the first token, `[CLS]`; return its name."""
    return graph.node("Gather", [hidden, graph.constant(np.array(0))], axis=1)


def _mean(graph: _Graph, hidden: str) -> str:
    """Add the mean over the real tokens; return its name."""
    mask = graph.node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    column = graph.node("Unsqueeze", [mask, graph.constant(np.array([2]))])
    tokens = graph.constant(np.array([1]))
    real = graph.node("Mul", [hidden, column])
    total = graph.node("ReduceSum", [real, tokens], keepdims=0)
    count = graph.node("ReduceSum", [column, tokens], keepdims=0)
    return graph.node("Div", [total, count])


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
        self._tokens: dict[float, str] = {}

    def constant(self, array: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
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

    def one_a_token(self, value: float) -> str:
        """Return the name of a vector that has `value` once for each token of a text."""
        if value not in self._tokens:
            count = self.node("Shape", ["input_ids"], start=1, end=2)
            filled = numpy_helper.from_array(np.array([value], np.float32))
            self._tokens[value] = self.node("ConstantOfShape", [count], value=filled)
        return self._tokens[value]

    def product(self, values: str, weight: NDArray[np.float32]) -> str:
        """Add the product with a dense layer's weight, which is stored transposed."""
        return self.node("MatMul", [values, self.constant(weight.T)])

    def dense(self, values: str, layer: Layer, name: str) -> str:
        """Add a whole dense layer; `name` is that of its product."""
        weight, bias = map(self.constant, (layer[0].T, layer[1]))
        return self.node("Add", [self.node("MatMul", [values, weight], name=name), bias])

    def model(
        self, inputs: Sequence[str], output: str, dimensions: Sequence[str | int]
    ) -> onnx.ModelProto:
        """Return the finished model."""
        tokens = ["batch", "sequence"]
        graph = helper.make_graph(
            self._nodes,
            "encoder",
            [helper.make_tensor_value_info(name, TensorProto.INT64, tokens) for name in inputs],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, dimensions)],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_FUSED, _FUSED_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        helper.set_model_props(model, _READY_TO_QUANTIZE)
        return model
