"""Vectors, scores and the models behind them, as `hasten.embedding.v1` means them."""

from __future__ import annotations

from dataclasses import dataclass

from libs.values.basics import Timing

# The scorer that says whether one answer serves two questions.
SAME_ANSWER = "same_answer"

_BYTES_PER_NUMBER = 4


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of some texts, in the texts' order.

    Attributes:
        vectors: float32, little endian, L2-normalised, one after another.
        dimensions: length of a vector.
        fingerprint: fingerprint of the model; those of different ones do not compare.
        timing: how the server spent its part of the call.
        first_index: index of the first text, where they are a block of a stream.
    """

    vectors: bytes
    dimensions: int
    fingerprint: str
    timing: Timing
    first_index: int = 0

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self.vectors) // (_BYTES_PER_NUMBER * self.dimensions)

    def __getitem__(self, index: int) -> bytes:
        """Return one vector.

        Raises:
            IndexError: there are not that many.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        size = _BYTES_PER_NUMBER * self.dimensions
        start = (index % len(self)) * size
        return self.vectors[start : start + size]


@dataclass(frozen=True, slots=True)
class Scores:
    """What a scorer makes of some pairs, in the pairs' order.

    Attributes:
        values: one probability a pair, in [0, 1].
        scorer: the scorer's name.
        fingerprint: fingerprint of the scorer; scores of different ones do not compare.
        timing: how the server spent its part of the call.
    """

    values: tuple[float, ...]
    scorer: str
    fingerprint: str
    timing: Timing

    def __len__(self) -> int:
        """Return the number of scores."""
        return len(self.values)

    def __getitem__(self, index: int) -> float:
        """Return one pair's score.

        Raises:
            IndexError: there are not that many.
        """
        return self.values[index]


@dataclass(frozen=True, slots=True)
class ScorerInfo:
    """What a scorer is and takes.

    Attributes:
        name: the scorer's name.
        fingerprint: digest of all that decides what a score is.
        max_tokens: tokens it reads of a pair; the longer text is cut first.
    """

    name: str
    fingerprint: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the model is and takes.

    Attributes:
        name: the model's name.
        fingerprint: digest of all that decides what a vector is.
        dimensions: length of a vector.
        languages: languages whose meaning it knows, as BCP 47 tags.
        max_tokens: tokens it reads of a text; the rest is cut off.
        max_texts: texts that one call takes.
        max_stream_texts: texts that one streamed call takes.
        max_characters: characters that a text may have.
        max_pairs: pairs that one call takes.
        scorers: the scorers that it has, by name.
    """

    name: str
    fingerprint: str
    dimensions: int
    languages: tuple[str, ...]
    max_tokens: int
    max_texts: int
    max_stream_texts: int
    max_characters: int
    max_pairs: int
    scorers: tuple[ScorerInfo, ...]
