"""One answer under its clocks: first text, stall, total; pieces gathered into batches."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from libs.budget import Budget, current_budget
from libs.errors import BudgetExhaustedError, MeshError, ModelInterruptedError
from libs.values import Citation, FinishReason, TextDelta, Timing, Usage
from libs.values.generation import GenerationCompleted, GenerationEvent, Prompt, Started
from services.generation.engine import Engine, Finished, Piece
from services.generation.feed import Feed

Batch = tuple[GenerationEvent, ...]
# Of a very short budget, this share is kept for the reply rather than all of the reserve.
_MOST_RESERVED = 0.25
_LONG_AGO = float("-inf")


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds every answer, in seconds.

    Attributes:
        total_s: what a call without a deadline may take.
        stall_s: longest silence between two pieces, if the prompt says nothing else.
        reply_reserve_s: how long before the deadline an answer is ended, so that its end
            still arrives.
        coalesce_s: least time between two batches, but for the last.
    """

    total_s: float = 120.0
    stall_s: float = 5.0
    reply_reserve_s: float = 0.02
    coalesce_s: float = 0.02


class Writer:
    """Writes answers under limits."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock

    async def write(
        self, engine: Engine, prompt: Prompt, timing: Callable[[float], Timing]
    ) -> AsyncGenerator[Batch, None]:
        """Yield the answer in batches: the first text at once, `GenerationCompleted` last.

        Args:
            engine: who writes.
            prompt: what about.
            timing: the timing of the call so far, from the seconds waited for a provider.

        Raises:
            BudgetExhaustedError: the time ended before there was any text.
            ModelInterruptedError: the engine broke off, or fell silent, after some.
            ModelOverloadedError: the engine has no capacity.
            ModelUnavailableError: the engine cannot be reached or refuses to serve.
        """
        budget = current_budget() or Budget.of(self._limits.total_s, clock=self._clock)
        stall_s = prompt.stall_limit_s or self._limits.stall_s
        clocks = _Clocks(budget, replace(self._limits, stall_s=stall_s), self._clock)
        answer = _Answer(engine, clocks, timing)
        async with Feed(engine, prompt, self._clock) as feed:
            while not answer.is_complete:
                try:
                    with answer.waiting():
                        piece = await feed.next(clocks.wait_s(has_pending=answer.has_pending))
                except MeshError:
                    if clocks.has_text and answer.has_pending:
                        yield answer.batch()
                    raise
                if piece is not None:
                    answer.take(piece)
                if clocks.is_over() and not answer.is_complete:
                    answer.end_early()
                elif clocks.is_stalled() and not answer.has_pending:
                    raise ModelInterruptedError(
                        f"{engine.model.name}: no text for {stall_s:g} s", stall_limit_s=stall_s
                    )
                if answer.is_complete or (answer.has_pending and clocks.may_send()):
                    yield answer.batch()


class _Clocks:
    """The clocks of one answer; each holds a point in time, in seconds of `clock`."""

    def __init__(self, budget: Budget, limits: Limits, clock: Callable[[], float]) -> None:
        left_s = budget.remaining_s()
        reserve_s = min(limits.reply_reserve_s, left_s * _MOST_RESERVED)
        self._limits = limits
        self._clock = clock
        self._started_s = clock()
        self._end_s = self._started_s + left_s - reserve_s
        self._last_piece_s = self._last_sent_s = _LONG_AGO
        self.first_text_s: float | None = None

    @property
    def has_text(self) -> bool:
        """True once there was text: from then on silence counts, and the end is a clean one."""
        return self.first_text_s is not None

    def heard(self, piece: Piece) -> None:
        """Note that the engine said something."""
        self._last_piece_s = self._clock()
        if isinstance(piece, TextDelta) and not self.has_text:
            self.first_text_s = self._last_piece_s - self._started_s

    def sent(self) -> None:
        """Note that a batch left."""
        self._last_sent_s = self._clock()

    def wait_s(self, *, has_pending: bool) -> float:
        """Return the seconds until the next clock strikes."""
        strikes = [self._end_s]
        if self.has_text:
            strikes.append(self._last_piece_s + self._limits.stall_s)
            if has_pending:
                strikes.append(self._last_sent_s + self._limits.coalesce_s)
        return min(strikes) - self._clock()

    def now_s(self) -> float:
        return self._clock()

    def is_over(self) -> bool:
        return self._clock() >= self._end_s

    def is_stalled(self) -> bool:
        return self.has_text and self._clock() >= self._last_piece_s + self._limits.stall_s

    def may_send(self) -> bool:
        """Tell whether a batch may leave: there is text, and the last one is long enough ago."""
        due = self._clock() >= self._last_sent_s + self._limits.coalesce_s
        return self.has_text and (due or self.is_stalled())


class _Answer:
    """An answer in the making: what is yet to be sent, and what the end will say."""

    def __init__(self, engine: Engine, clocks: _Clocks, timing: Callable[[float], Timing]) -> None:
        self._engine = engine
        self._clocks = clocks
        self._timing = timing
        self._waited_s = 0.0
        self._usage = Usage()
        # Not sent before there is text: a caller that has seen nothing may still ask elsewhere.
        self._pending: list[GenerationEvent] = [Started(engine.model.name, engine.model.engine)]
        self.is_complete = False

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as spent at the provider, if there is one."""
        since_s = self._clocks.now_s()
        try:
            yield
        finally:
            if self._engine.waits_for_provider:
                self._waited_s += self._clocks.now_s() - since_s

    def take(self, piece: Piece) -> None:
        """Add what the engine said."""
        self._clocks.heard(piece)
        if isinstance(piece, Usage):
            self._usage = piece
        elif isinstance(piece, Finished):
            self._complete(piece.finish_reason, piece.usage)
        else:
            self._add(piece)

    def end_early(self) -> None:
        """End with what there is, the time being over.

        Raises:
            BudgetExhaustedError: there is nothing.
        """
        if not self._clocks.has_text:
            name = self._engine.model.name
            raise BudgetExhaustedError(f"{name}: no text before the deadline", hop=name)
        self._complete(FinishReason.BUDGET, self._usage)

    def batch(self) -> Batch:
        """Return what is pending, as sent."""
        batch, self._pending = tuple(self._pending), []
        self._clocks.sent()
        return batch

    def _add(self, piece: TextDelta | Citation) -> None:
        last = self._pending[-1] if self._pending else None
        if isinstance(piece, TextDelta) and isinstance(last, TextDelta):
            self._pending[-1] = TextDelta(last.text + piece.text)
        else:
            self._pending.append(piece)

    def _complete(self, reason: FinishReason, usage: Usage) -> None:
        timing, first_text_s = self._timing(self._waited_s), self._clocks.first_text_s
        self._pending.append(GenerationCompleted(reason, usage, timing, first_text_s))
        self.is_complete = True
