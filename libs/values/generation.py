"""Values of `hasten.generation.v1`; each means what the proto's comment says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from libs.values.answers import TextDelta
from libs.values.basics import Citation, FinishReason, ModelTier, Passage, Timing, Turn, Usage


class PromptCache(IntEnum):
    """What of a prompt a provider is asked to cache."""

    UNSPECIFIED = 0
    OFF = 1
    SYSTEM = 2
    PASSAGES = 3


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to write, and from what; None leaves a limit to the server."""

    tenant_id: str
    question: str
    tier: ModelTier = ModelTier.UNSPECIFIED
    system: str = ""
    passages: tuple[Passage, ...] = ()
    history: tuple[Turn, ...] = ()
    max_output_tokens: int | None = None
    output_schema: str = ""
    stall_limit_s: float | None = None
    prompt_cache: PromptCache = PromptCache.UNSPECIFIED
    documents: tuple[Passage, ...] = ()
    first_text_limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The model has begun."""

    model: str
    engine: str


@dataclass(frozen=True, slots=True)
class GenerationCompleted:
    """The end of a text; `first_text_s` is None if there was none."""

    finish_reason: FinishReason
    usage: Usage
    timing: Timing
    first_text_s: float | None


GenerationEvent = Started | TextDelta | Citation | GenerationCompleted


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be asked."""

    tier: ModelTier
    name: str
    engine: str
