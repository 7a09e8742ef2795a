"""Trains the low-rank adapter that makes a judge of pairs out of the sentence encoder.

The encoder's weights stay as they are. What is learned is, for each of its dense layers, a
product of two thin matrices (LoRA, Hu et al., 2021), small corrections of its norms, and a
head that reads the first token's last state.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Encoding, Tokenizer
from torch import nn
from transformers import BertConfig, BertModel

from cli.calibrate.pairs import Pair

Say = Callable[[str], None]

NAME, VERSION = "same_answer", "1"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Attributes:
        rank: of the products.
        scale: what a product is multiplied by when it is merged.
        learning_rate: at its highest.
        batch: pairs of a step.
        epochs: times that each pair is seen.
        max_tokens: of a pair; the rest is cut off.
        smoothing: share of belief withheld from each label, in [0, 1).
        seed: of all chance.
    """

    rank: int = 12
    scale: float = 2.0
    learning_rate: float = 9e-4
    batch: int = 64
    epochs: int = 1
    max_tokens: int = 96
    smoothing: float = 0.03
    seed: int = 7


class LowRank(nn.Module):
    """A dense layer that is left alone, and the product that is added to it."""

    def __init__(self, dense: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.dense = dense
        self.lora_a = nn.Parameter(torch.empty(rank, dense.in_features))
        self.lora_b = nn.Parameter(torch.zeros(dense.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))
        self.scale = scale

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the layer's output with the product's added."""
        added: torch.Tensor = (values @ self.lora_a.T) @ self.lora_b.T
        return self.dense(values) + self.scale * added


class Judge(nn.Module):
    """The encoder, its adapter and its head: a pair's tokens in, a logit out."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        """Load the published encoder and put an untrained adapter on it."""
        super().__init__()
        torch.manual_seed(recipe.seed)
        config = BertConfig.from_pretrained(folder)
        config.hidden_dropout_prob, config.attention_probs_dropout_prob = 0.05, 0.0
        self.encoder = BertModel.from_pretrained(folder, config=config, add_pooling_layer=False)
        self.encoder.requires_grad_(False)
        dense = [
            (name, layer)
            for name, layer in self.encoder.named_modules()
            if isinstance(layer, nn.Linear)
        ]
        for name, layer in dense:
            self.encoder.set_submodule(name, LowRank(layer, recipe.rank, recipe.scale))
        for name, weight in self.encoder.named_parameters():
            if "LayerNorm" in name or "token_type" in name:
                weight.requires_grad_(True)
        self.start = {
            name: weight.detach().clone()
            for name, weight in self.encoder.named_parameters()
            if weight.requires_grad
        }
        size = config.hidden_size
        self.dense, self.out = nn.Linear(size, 128), nn.Linear(128, 1)

    def forward(self, ids: torch.Tensor, types: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return each pair's logit."""
        states = self.encoder(input_ids=ids, token_type_ids=types, attention_mask=mask)
        first = states.last_hidden_state[:, 0]
        logits: torch.Tensor = self.out(torch.tanh(self.dense(first))).squeeze(-1)
        return logits


def tokenizer(folder: Path, recipe: Recipe) -> Tokenizer:
    """Return what turns a pair into tokens."""
    found = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found.no_padding()
    found.enable_truncation(recipe.max_tokens)
    return found


def train(judge: Judge, reader: Tokenizer, pairs: Sequence[Pair], recipe: Recipe, say: Say) -> None:
    """Fit a judge on the pairs; one that was fitted before goes on from there."""
    judge.train()
    weights = [weight for weight in judge.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, recipe.learning_rate, weight_decay=0.01)
    chance = random.Random(recipe.seed)
    steps = recipe.epochs * math.ceil(len(pairs) / recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, steps + 1, pct_start=0.1
    )
    lost, seen = 0.0, 0
    for step, batch in enumerate(_batches(reader, pairs, recipe, chance)):
        inputs, labels = batch
        target = labels * (1 - 2 * recipe.smoothing) + recipe.smoothing
        with torch.autocast("cpu", torch.bfloat16):
            logits = judge(*inputs)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        lost, seen = lost + loss.item(), seen + 1
        if not (step + 1) % 50:
            say(f"step {step + 1} of {steps}: loss {lost / seen:.4f}")
            lost, seen = 0.0, 0
    judge.eval()


@torch.no_grad()
def scores(judge: Judge, reader: Tokenizer, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Return each pair's logit, the mean of both orders."""
    both = [*pairs, *((b, a) for a, b in pairs)]
    tokens = reader.encode_batch(both)
    order = sorted(range(len(both)), key=lambda index: len(tokens[index].ids))
    found = np.zeros(len(both), np.float32)
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        with torch.autocast("cpu", torch.bfloat16):
            found[rows] = judge(*_padded([tokens[row] for row in rows])).float().numpy()
    return (found[: len(pairs)] + found[len(pairs) :]) / 2


def save(judge: Judge, folder: Path, path: Path, recipe: Recipe, temperature: float) -> None:
    """Write the adapter as the embedding service reads it."""
    tensors: dict[str, np.ndarray] = {}
    for name, layer in judge.encoder.named_modules():
        if isinstance(layer, LowRank):
            tensors[f"{name}.lora_A"] = _half(layer.lora_a)
            tensors[f"{name}.lora_B"] = _half(layer.lora_b)
    for name, weight in judge.encoder.named_parameters():
        if name in judge.start and "lora" not in name:
            tensors[f"{name}_delta"] = _half(weight - judge.start[name])
    for name, layer in (("head.dense", judge.dense), ("head.out", judge.out)):
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = _half(layer.weight), _half(layer.bias)
    base = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    metadata = {
        "base_sha256": base, "scale": str(recipe.scale), "pooling": "cls", "max_tokens": str(recipe.max_tokens),
        "temperature": str(temperature), "name": NAME, "version": VERSION,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata)


def _half(weight: torch.Tensor) -> np.ndarray:
    return weight.detach().to(torch.float16).contiguous().numpy()


def _batches(
    reader: Tokenizer, pairs: Sequence[Pair], recipe: Recipe, chance: random.Random
) -> Iterator[tuple[tuple[torch.Tensor, ...], torch.Tensor]]:
    for _ in range(recipe.epochs):
        turned = [(pair.b, pair.a) if chance.random() < 0.5 else (pair.a, pair.b) for pair in pairs]  # fmt: skip
        tokens = reader.encode_batch(turned)
        # Of like length together, but in no order that could be learned from.
        order = sorted(
            range(len(pairs)), key=lambda index: len(tokens[index].ids) + chance.random() * 6
        )
        groups = [
            order[start : start + recipe.batch] for start in range(0, len(order), recipe.batch)
        ]
        chance.shuffle(groups)
        for group in groups:
            labels = torch.tensor([float(pairs[index].same) for index in group])
            yield _padded([tokens[index] for index in group]), labels


def _padded(tokens: Sequence[Encoding]) -> tuple[torch.Tensor, ...]:
    width = max(len(each.ids) for each in tokens)
    ids, types, mask = (torch.zeros(len(tokens), width, dtype=torch.long) for _ in range(3))
    for row, each in enumerate(tokens):
        size = len(each.ids)
        ids[row, :size] = torch.tensor(each.ids)
        types[row, :size] = torch.tensor(each.type_ids)
        mask[row, :size] = 1
    return ids, types, mask
