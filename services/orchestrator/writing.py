"""Has one text written, under the clocks of a stream: first text, then the total."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from libs.clients.generation import GenerationClient
from libs.errors import BudgetExhaustedError
from libs.values import Citation, FinishReason, TextDelta, Usage
from libs.values.generation import GenerationCompleted, GenerationEvent, Prompt, Started
from services.orchestrator.hops import noted
from services.orchestrator.ledger import HopRecord
from services.orchestrator.plan import GENERATION

Emit = Callable[[TextDelta | Citation], None]


@dataclass(frozen=True, slots=True)
class Clocks:
    """When a text has taken too long, in seconds from the call.

    Attributes:
        first_text_s: without any text by then, it is given up.
        total_s: what was written by then is all there is.
    """

    first_text_s: float
    total_s: float


@dataclass(slots=True)
class Written:
    """What has been written so far."""

    events: list[TextDelta | Citation] = field(default_factory=list)
    model: str = ""
    finish_reason: FinishReason = FinishReason.UNSPECIFIED
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """The text without its citations."""
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    def ended(self, reason: FinishReason) -> Self:
        """Return the same text, ended for another reason."""
        return replace(self, finish_reason=reason)


class Writing:
    """One text in the writing; `written` holds it also when `run` fails in the middle."""

    def __init__(self, client: GenerationClient, record: HopRecord, emit: Emit) -> None:
        self._client = client
        self.record = record
        self._emit = emit
        self.written = Written()

    async def run(self, prompt: Prompt, clocks: Clocks) -> Written:
        """Write until the end, or until the total clock ends it cleanly.

        Raises:
            BudgetExhaustedError: there was no text when the first clock ended.
            MeshError: the model failed; `written` tells what was sent before.
        """
        with noted(self.record):
            try:
                await self._read(prompt, clocks)
            except (TimeoutError, BudgetExhaustedError) as error:
                if not self.written.events:
                    raise BudgetExhaustedError(
                        "generation: no text in time",
                        hop=GENERATION,
                        had_ms=round(clocks.first_text_s * 1e3),
                    ) from error
                self.written.finish_reason = FinishReason.BUDGET
                self.record.end("TIMED_OUT")
        return self.written

    async def _read(self, prompt: Prompt, clocks: Clocks) -> None:
        loop = asyncio.get_running_loop()
        total_at = loop.time() + clocks.total_s
        async with asyncio.timeout(min(clocks.first_text_s, clocks.total_s)) as clock:
            async with self._client.generate(prompt, limit_s=clocks.total_s) as events:
                async for event in events:
                    if isinstance(event, TextDelta) and not self.written.events:
                        clock.reschedule(total_at)
                    self._take(event)

    def _take(self, event: GenerationEvent) -> None:
        match event:
            case Started():
                self.written.model = event.model
            case GenerationCompleted():
                self.written.finish_reason = event.finish_reason
                self.written.usage = event.usage
                self.record.end("ok", event.timing)
            case _:
                self.written.events.append(event)
                self._emit(event)
