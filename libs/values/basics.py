"""Values of `hasten.common.v1`; each means what the proto's comment says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Quality(IntEnum):
    """How good an answer is, by the way it was made; a larger one is better."""

    UNSPECIFIED = 0
    REFUSAL = 10
    UNSUPPORTED = 20
    EXTRACTIVE_LEXICAL = 30
    EXTRACTIVE = 40
    FAST_LEXICAL = 45
    FAST = 50
    BRIEF_LEXICAL = 55
    LEXICAL = 60
    BRIEF = 80
    FULL = 90


class ModelTier(IntEnum):
    """Which of the configured models answers."""

    UNSPECIFIED = 0
    BEST = 1
    FAST = 2
    EXTRACTIVE = 3


class FinishReason(IntEnum):
    """Why a text ended."""

    UNSPECIFIED = 0
    END_TURN = 1
    STOP_SEQUENCE = 2
    MAX_TOKENS = 3
    REFUSAL = 4
    BUDGET = 5
    STOPPED = 6
    NO_ANSWER = 7
    INTERRUPTED = 8
    INVALID_OUTPUT = 9

    @property
    def is_whole(self) -> bool:
        """True if the text is all that was to be said."""
        return self in (FinishReason.END_TURN, FinishReason.STOP_SEQUENCE)


class Role(IntEnum):
    """Who spoke in a conversation."""

    UNSPECIFIED = 0
    USER = 1
    ASSISTANT = 2


@dataclass(frozen=True, slots=True)
class Timing:
    """How a server spent its part of one call, in seconds."""

    queue_s: float = 0.0
    compute_s: float = 0.0
    model_s: float = 0.0
    batch_size: int = 0


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on a document's metadata: `key` has one of `any_of`."""

    key: str
    any_of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message of the conversation."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document; offsets count code points of the document's text."""

    passage_id: str
    document_id: str
    document_version: int
    title: str
    heading: str
    text: str
    start_offset: int
    end_offset: int
    uri: str = ""
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Citation:
    """The claim that a stretch of a source supports the answer."""

    source_index: int
    document_id: str
    cited_text: str
    start_offset: int
    end_offset: int
    answer_offset: int
    section_id: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a model read and wrote."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Return the sum of both."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """A document as it was when an answer was built from it."""

    collection: str
    document_id: str
    version: int
