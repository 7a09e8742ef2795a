"""Vectors and the model behind them, as `hasten.embedding.v1` means them."""

from __future__ import annotations

from dataclasses import dataclass

from libs.values.basics import Timing

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
    """

    name: str
    fingerprint: str
    dimensions: int
    languages: tuple[str, ...]
    max_tokens: int
    max_texts: int
    max_stream_texts: int
    max_characters: int
