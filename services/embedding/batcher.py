"""Lets calls that arrive together share runs of the model, and none wait for company.

An idle model runs at once; what arrives meanwhile is the next run. So a batch is as large
as the load makes it, and there is no delay to tune.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from libs.budget import Budget
from libs.errors import BudgetExhaustedError
from services.embedding.engine import Engine
from services.embedding.waiting import Call, Waiting

HOP = "embedding"
# Weight of the newest run in what is known of the engine's pace.
_NEWEST = 0.2
# A call is given up only if its texts would come too late even at this part of the usual
# time: giving up what would have come in time is worse than a run for nothing.
_SURE = 0.5
# What was learned is forgotten after this long without a run. Were it not, a pace that was
# wrong for once could keep every call out, and no run would ever put it right.
_REMEMBERED_S = 1.0


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of a call.

    Attributes:
        vectors: one vector a text, in order, joined.
        queue_s: seconds it waited while others were worked on.
        compute_s: seconds in which its own texts were.
        batch_size: most calls that shared one of its runs.
    """

    vectors: bytes
    queue_s: float
    compute_s: float
    batch_size: int


class Batcher:
    """Runs one engine on one thread; an async context manager that ends both.

    All its state is the event loop's; the thread only computes.
    """

    def __init__(
        self, engine: Engine, *, run_tokens: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make a batcher that has not started.

        Args:
            engine: what computes.
            run_tokens: tokens that may share one run.
            clock: seconds that only go forward, the clock of the budgets.
        """
        self._engine = engine
        self._clock = clock
        self._waiting = Waiting(run_tokens=run_tokens, max_tokens=engine.model.max_tokens)
        self._arrived = asyncio.Event()
        self._s_per_token = 0.0
        self._learned_s = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedding")

    async def __aenter__(self) -> Self:
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._worker
        for call in self._waiting.all():
            call.done.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def embed(
        self, texts: Sequence[str], *, budget: Budget | None = None, bulk: bool = False
    ) -> Embedded:
        """Return the vectors of `texts`.

        Args:
            texts: one or more texts.
            budget: the caller's time; the call is dropped if it ends while it waits, or
                if what is missing can no longer be made in it.
            bulk: True to go behind every call that is not bulk.

        Raises:
            BudgetExhaustedError: the time was over, or too short, before all work had begun.
        """
        call = Call(texts, bulk, budget, self._clock())
        self._waiting.add(call)
        self._arrived.set()
        try:
            await call.done
        finally:
            # A caller that leaves takes its texts along.
            self._waiting.remove(call)
        vectors = b"".join(call.vectors[text] for text in texts)
        waited_s = self._clock() - call.arrived_s - call.working_s
        return Embedded(vectors, max(0.0, waited_s), call.working_s, call.batch_size)

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while texts := self._next_run():
                await self._run(texts)

    def _next_run(self) -> list[str]:
        now_s = self._clock()
        if now_s - self._learned_s > _REMEMBERED_S:
            self._s_per_token = 0.0
        for call in self._waiting.all():
            try:
                if call.budget is not None:
                    call.budget.require(self._least_s(call), HOP)
            except BudgetExhaustedError as error:
                call.fail(error)
                self._waiting.remove(call)
        return self._waiting.next_run(now_s, self._s_per_token)

    def _least_s(self, call: Call) -> float:
        """Return the seconds that what is missing will surely take; 0 if that is not known."""
        if not self._s_per_token:
            return 0.0
        return _SURE * self._s_per_token * sum(map(self._waiting.tokens, call.missing))

    async def _run(self, texts: list[str]) -> None:
        started_s = self._clock()
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, self._engine.embed, texts)
            vectors = dict(zip(texts, found, strict=True))
        except Exception as error:  # noqa: BLE001 - each caller's guard logs it as its own
            self._fail(texts, error)
            return
        ended_s = self._clock()
        self._learn(sum(map(self._waiting.tokens, texts)), ended_s - started_s)
        self._learned_s = ended_s
        self._deliver(vectors, started_s, ended_s)

    def _deliver(self, vectors: dict[str, bytes], started_s: float, ended_s: float) -> None:
        """Give the vectors to every call that lacks them, also to those who came later."""
        sharing = [call for call in self._waiting.all() if call.take(vectors)]
        for call in sharing:
            call.working_s += ended_s - max(started_s, call.arrived_s)
            call.batch_size = max(call.batch_size, len(sharing))
            if not call.missing:
                self._waiting.remove(call)
                if not call.done.done():
                    call.done.set_result(None)

    def _fail(self, texts: list[str], error: Exception) -> None:
        for call in self._waiting.all():
            if call.missing.keys() & texts:
                call.fail(error)
                self._waiting.remove(call)

    def _learn(self, tokens: int, took_s: float) -> None:
        newest = took_s / tokens
        known = self._s_per_token or newest
        self._s_per_token = known + _NEWEST * (newest - known)
