"""Has a text written, under the clocks of a stream: first text, then the total.

A second writer may be asked when the first one is late; the one whose text comes first is
heard, the other is cancelled (`Contest`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from libs.clients.generation import GenerationClient
from libs.errors import BudgetExhaustedError
from libs.values import Citation, FinishReason, ModelTier, SectionText, TextDelta, Usage
from libs.values.generation import GenerationCompleted, GenerationEvent, Prompt, Started
from services.orchestrator.hops import noted
from services.orchestrator.ledger import HopRecord
from services.orchestrator.outlining import Form, Said
from services.orchestrator.plan import GENERATION

Emit = Callable[[Said], None]
# English; other languages take more tokens (OpenAI, "What are tokens and how to count them?").
_TOKEN_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class Clocks:
    """When a text has taken too long, in seconds from the call.

    Attributes:
        first_text_s: without any text by then, it is given up.
        total_s: what was written by then is all there is.
    """

    first_text_s: float
    total_s: float

    def after(self, seconds: float) -> Self:
        """Return what is left of them after some seconds."""
        return type(self)(max(0.0, self.first_text_s - seconds), max(0.0, self.total_s - seconds))


@dataclass(slots=True)
class Written:
    """What has been written so far."""

    events: list[Said] = field(default_factory=list)
    model: str = ""
    finish_reason: FinishReason = FinishReason.UNSPECIFIED
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """The text without its citations, if it has no sections."""
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    def ended(self, reason: FinishReason) -> Self:
        """Return the same text, ended for another reason."""
        return replace(self, finish_reason=reason)


class Writing:
    """One text in the writing; `written` holds it also when `run` fails in the middle."""

    def __init__(
        self,
        client: GenerationClient,
        rung: str,
        record: HopRecord,
        emit: Emit,
        form: Form | None = None,
    ) -> None:
        """Write nothing yet.

        Args:
            client: whom to ask.
            rung: who writes, and from how much.
            record: of the hop.
            emit: told each piece.
            form: what the text is made into; None leaves it as it is.
        """
        self._client = client
        self.rung = rung
        self.record = record
        self._emit = emit
        self._form = form
        self._has_begun = False
        self.written = Written()

    def hears(self, emit: Emit) -> None:
        """Send what is written from now on elsewhere."""
        self._emit = emit

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
                self._guess_usage(prompt)
                self.record.end("TIMED_OUT")
            except asyncio.CancelledError:
                self._guess_usage(prompt)
                raise
            finally:
                # What was shown already is not cut in the middle of a line.
                if self.written.events:
                    self._end_form()
        return self.written

    def _guess_usage(self, prompt: Prompt) -> None:
        """Guess what was spent on a text that is cut: the provider would say it at its end."""
        if self.written.usage is None and prompt.tier is not ModelTier.EXTRACTIVE:
            read, said = _characters(prompt), sum(map(_length, self.written.events))
            self.written.usage = Usage(read // _TOKEN_CHARACTERS, said // _TOKEN_CHARACTERS)

    async def _read(self, prompt: Prompt, clocks: Clocks) -> None:
        loop = asyncio.get_running_loop()
        total_at = loop.time() + clocks.total_s
        prompt = replace(prompt, first_text_limit_s=clocks.first_text_s)
        async with asyncio.timeout(min(clocks.first_text_s, clocks.total_s)) as clock:
            async with self._client.generate(
                prompt, limit_s=clocks.total_s, first_text_s=clocks.first_text_s
            ) as events:
                async for event in events:
                    was_silent = not self.written.events
                    self._take(event)
                    if was_silent and self.written.events:
                        clock.reschedule(total_at)

    def _take(self, event: GenerationEvent) -> None:
        match event:
            case Started():
                self.written.model = event.model
            case GenerationCompleted():
                self._end_form()
                self.written.finish_reason = event.finish_reason
                self.written.usage = event.usage
                self.record.end("ok", event.timing)
            case _:
                self._hear(event)

    def _hear(self, event: TextDelta | Citation) -> None:
        if not self._has_begun:
            self._has_begun = True
            if self.record.ended_s is None:
                self.record.reached(self.rung)
        if self._form is None:
            self._say(event)
            return
        for each in self._form.feed(event):
            self._say(each)

    def _end_form(self) -> None:
        form, self._form = self._form, None
        for each in form.end() if form else ():
            self._say(each)

    def _say(self, event: Said) -> None:
        self.written.events.append(event)
        self._emit(event)


class Contest:
    """A text that a second writer may be asked for while the first one is silent.

    Attributes:
        leader: whose text counts: the first until the other has said something before it.
    """

    def __init__(
        self, first: Writing, second: Callable[[], Writing | None], after_s: float, emit: Emit
    ) -> None:
        """Begin with one writer.

        Args:
            first: who is asked first.
            second: makes the other, if there may be one.
            after_s: when to ask it, in seconds from the start.
            emit: told each piece of the leader's text.
        """
        self.leader = first
        self._first = first
        self._second = second
        self._after_s = after_s
        self._emit = emit
        self._tasks: dict[Writing, asyncio.Task[Written]] = {}

    @property
    def writings(self) -> tuple[Writing, ...]:
        """Who was asked, in order."""
        return tuple(self._tasks) or (self._first,)

    async def run(self, prompt_of: Callable[[str], Prompt], clocks: Clocks) -> Written:
        """Write, and leave nobody behind.

        Raises:
            MeshError: as `Writing.run`, of the last one that failed.
        """
        if self._after_s >= clocks.first_text_s:
            return await self._first.run(prompt_of(self._first.rung), clocks)
        try:
            self._start(self._first, prompt_of, clocks)
            await asyncio.wait(self._tasks.values(), timeout=self._after_s)
            if not self._first.written.events and not self._tasks[self._first].done():
                self._call_second(prompt_of, clocks.after(self._after_s))
            return await self._outcome()
        finally:
            await self._leave()

    def _call_second(self, prompt_of: Callable[[str], Prompt], clocks: Clocks) -> None:
        second = self._second()
        if second is not None:
            self._start(second, prompt_of, clocks)

    def _start(self, writing: Writing, prompt_of: Callable[[str], Prompt], clocks: Clocks) -> None:
        writing.hears(lambda event: self._heard(writing, event))
        work = writing.run(prompt_of(writing.rung), clocks)
        self._tasks[writing] = asyncio.create_task(work)

    def _heard(self, writing: Writing, event: Said) -> None:
        if len(writing.written.events) == 1 and not self._is_decided(writing):
            self._win(writing)
        if self.leader is writing:
            self._emit(event)

    def _is_decided(self, writing: Writing) -> bool:
        return any(each.written.events for each in self._tasks if each is not writing)

    def _win(self, writing: Writing) -> None:
        self.leader = writing
        for each, task in self._tasks.items():
            if each is not writing and not task.done():
                each.record.end("lost")
                task.cancel()

    async def _outcome(self) -> Written:
        """Wait until the leader's text has ended, or nobody is left who could lead."""
        while True:
            task = self._tasks[self.leader]
            under_way = [each for each in self._tasks.values() if not each.done()]
            if self.leader.written.events or not under_way:
                return await task
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            self._pass_on()

    def _pass_on(self) -> None:
        """Let another one lead where the leader has failed without a word."""
        if self._tasks[self.leader].done() and not self.leader.written.events:
            others = (each for each, task in self._tasks.items() if not task.done())
            self.leader = next(others, self.leader)

    async def _leave(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


def _characters(prompt: Prompt) -> int:
    passages = [each.text for each in (*prompt.documents, *prompt.passages)]
    turns = [each.text for each in prompt.history]
    return sum(map(len, (prompt.system, prompt.question, *passages, *turns)))


def _length(event: Said) -> int:
    return len(event.text) if isinstance(event, TextDelta | SectionText) else 0
