"""What every engine does: turn a prompt into pieces of an answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from libs.values import Citation, FinishReason, TextDelta, Usage
from libs.values.generation import Model, Prompt


@dataclass(frozen=True, slots=True)
class Finished:
    """The engine has said all it will; always the last piece."""

    finish_reason: FinishReason
    usage: Usage


# A usage on its own is what has been counted so far, for a text that is cut short.
Piece = TextDelta | Citation | Usage | Finished


class Engine(Protocol):
    """Writes answers with one model.

    Attributes:
        model: what it is called and which tier it serves.
        waits_for_provider: True if its time is spent at a provider, not here.
    """

    model: Model
    waits_for_provider: bool

    def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """Yield the answer piece by piece, `Finished` last; closing it ends the work at once.

        An engine keeps no clocks: how long it may take is for its caller to say.

        Raises:
            ModelUnavailableError: the provider cannot be reached or refuses to serve.
            ModelOverloadedError: the provider has no capacity now.
            ModelInterruptedError: the provider broke off after it had sent text.
        """
        ...

    async def warm(self, prompt: Prompt) -> Usage:
        """Have the start of a prompt cached: its system text and documents.

        Returns:
            What was read and written; nothing where there is no such cache.

        Raises:
            ModelUnavailableError: as above.
            ModelOverloadedError: as above.
        """
        ...
