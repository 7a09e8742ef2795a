import math
from collections.abc import Mapping

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from services.embedding.build.graph import (
    Head,
    Pooling,
    Shape,
    UnsupportedModelError,
    encoder_graph,
    scorer_graph,
)
from tests.unit.embedding.conftest import HEADS, HIDDEN, LAYERS

Array = NDArray[np.float32]
EPSILON = 1e-12


def norm(x: Array, weights: Mapping[str, Array], name: str) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled: Array = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    return scaled * weights[f"{name}.LayerNorm.weight"] + weights[f"{name}.LayerNorm.bias"]


def dense(x: Array, weights: Mapping[str, Array], name: str) -> Array:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def gelu(x: Array) -> Array:
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def attention(x: Array, weights: Mapping[str, Array], name: str) -> Array:
    size = HIDDEN // HEADS
    mixed = []
    query, key, value = (
        dense(x, weights, f"{name}.self.{role}") for role in ("query", "key", "value")
    )
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        scores = np.exp(query[:, part] @ key[:, part].T / math.sqrt(size))
        mixed.append(scores / scores.sum(-1, keepdims=True) @ value[:, part])
    return np.concatenate(mixed, axis=-1)


def states(ids: list[int], segments: list[int], weights: Mapping[str, Array]) -> Array:
    """BERT as its paper writes it down, for one text or pair, without any padding."""
    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = x + weights["embeddings.token_type_embeddings.weight"][segments]
    x = norm(x, weights, "embeddings")
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        mixed = attention(x, weights, f"{layer}.attention")
        mixed = dense(mixed, weights, f"{layer}.attention.output.dense")
        x = norm(x + mixed, weights, f"{layer}.attention.output")
        inner = gelu(dense(x, weights, f"{layer}.intermediate.dense"))
        x = norm(x + dense(inner, weights, f"{layer}.output.dense"), weights, f"{layer}.output")
    return x


def reference(ids: list[int], weights: Mapping[str, Array]) -> Array:
    mean = states(ids, [0] * len(ids), weights).mean(0)
    return mean / np.linalg.norm(mean)


def test_the_graph_computes_what_the_paper_says_for_each_text_of_a_padded_batch(
    weights: dict[str, Array],
) -> None:
    texts = [[2, 5, 3], [2, 4, 7, 9, 11, 6, 3], [2, 8, 8, 4, 3]]
    ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    graph = encoder_graph(weights, Shape(HIDDEN, HEADS, LAYERS, EPSILON))
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    found = session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]
    want = np.array([reference(text, weights) for text in texts])
    np.testing.assert_allclose(found, want, atol=2e-6)


@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("inner", [0, 5])
def test_the_scorer_computes_the_probability_of_each_pair_of_a_padded_batch(
    weights: dict[str, Array], pooling: Pooling, inner: int
) -> None:
    random = np.random.default_rng(3)

    def layer(size_out: int, size_in: int) -> tuple[Array, Array]:
        shapes = (size_out, size_in), (size_out,)
        weight, bias = (random.normal(0, 0.4, shape).astype(np.float32) for shape in shapes)
        return weight, bias

    head = Head(pooling, layer(inner, HIDDEN) if inner else None, layer(1, inner or HIDDEN))
    pairs = [([2, 5, 3, 6, 3], [0, 0, 0, 1, 1]), ([2, 4, 7, 3, 9, 6, 8, 3], [0] * 4 + [1] * 4)]
    ids, mask, segments = (np.zeros((2, 8), np.int64) for _ in range(3))
    want = []
    for row, (tokens, kinds) in enumerate(pairs):
        size = len(tokens)
        ids[row, :size], mask[row, :size], segments[row, :size] = tokens, 1, kinds
        last = states(tokens, kinds, weights)
        state = last[0] if pooling is Pooling.CLS else last.mean(0)
        if head.dense is not None:
            state = np.tanh(head.dense[0] @ state + head.dense[1])
        want.append(1 / (1 + math.exp(-float((head.out[0] @ state + head.out[1])[0]))))
    graph = scorer_graph(weights, Shape(HIDDEN, HEADS, LAYERS, EPSILON), head)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}
    np.testing.assert_allclose(session.run(["score"], inputs)[0], want, atol=2e-6)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "roberta", "hidden_act": "gelu"},
        {"model_type": "bert", "hidden_act": "gelu_new"},
        {},
    ],
)
def test_a_model_of_another_kind_is_refused(config: dict[str, str]) -> None:
    with pytest.raises(UnsupportedModelError, match="not bert, gelu"):
        Shape.of(config)
