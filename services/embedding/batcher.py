"""Lets calls that arrive together share runs of a model, and none wait for company.

An idle model runs at once; what arrives meanwhile is the next run. So a batch is as large
as the load makes it, and there is no delay to tune. Texts and pairs take turns on one
thread: side by side they would only take each other's cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from libs.budget import Budget
from libs.errors import BudgetExhaustedError
from services.embedding.engine import Engine, Pair, Scorer
from services.embedding.waiting import Run, Waiting
from services.embedding.work import Call, Found, Item, Rank, Work

HOP = "embedding"
# What a model puts around a text, and around and between the texts of a pair.
_TEXT_MARKS, _PAIR_MARKS = 2, 3
# A call is given up only if its items would come too late even at this part of the usual
# time: giving up what would have come in time is worse than a run for nothing.
_SURE = 0.5


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


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of a call.

    Attributes:
        scores: one probability a pair, in order.
        queue_s: seconds it waited while others were worked on.
        compute_s: seconds in which its own pairs were.
        batch_size: most calls that shared one of its runs.
    """

    scores: list[float]
    queue_s: float
    compute_s: float
    batch_size: int


class Batcher:
    """Runs an engine and its scorers on one thread; an async context manager that ends both.

    All its state is the event loop's; the thread only computes.
    """

    def __init__(
        self,
        engine: Engine,
        scorers: Mapping[str, Scorer] | None = None,
        *,
        run_tokens: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a batcher that has not started.

        Args:
            engine: what computes vectors.
            scorers: what scores pairs, by name.
            run_tokens: tokens that may share one run.
            clock: seconds that only go forward, the clock of the budgets.
        """
        max_tokens = engine.model.max_tokens
        self._embedding = Work(engine.embed, max_tokens=max_tokens, marks=_TEXT_MARKS)
        self._bulk = Work(engine.embed_bulk, max_tokens=max_tokens, marks=_TEXT_MARKS)
        self._scoring = {
            name: Work(scorer.score, max_tokens=scorer.model.max_tokens, marks=_PAIR_MARKS)
            for name, scorer in (scorers or {}).items()
        }
        self._clock = clock
        self._waiting = Waiting(run_tokens=run_tokens)
        self._arrived = asyncio.Event()
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
        work, rank = (self._bulk, Rank.BULK) if bulk else (self._embedding, Rank.TEXTS)
        call = Call(work, texts, rank, budget, self._clock())
        waited_s = await self._served(call)
        vectors = b"".join(call.found[text] for text in texts)
        return Embedded(vectors, waited_s, call.working_s, call.batch_size)

    async def score(
        self, scorer: str, pairs: Sequence[Pair], *, budget: Budget | None = None
    ) -> Scored:
        """Return the scores of `pairs`, behind the calls of `embed` that are not bulk.

        Args:
            scorer: name of a scorer that the batcher has.
            pairs: one or more pairs.
            budget: the caller's time, as in `embed`.

        Raises:
            BudgetExhaustedError: the time was over, or too short, before all work had begun.
        """
        call = Call(self._scoring[scorer], pairs, Rank.PAIRS, budget, self._clock())
        waited_s = await self._served(call)
        scores = [call.found[pair] for pair in pairs]
        return Scored(scores, waited_s, call.working_s, call.batch_size)

    async def _served(self, call: Call[Item, Found]) -> float:
        """Wait until nothing of a call is missing; return the seconds that others took."""
        self._waiting.add(call)
        self._arrived.set()
        try:
            await call.done
        finally:
            # A caller that leaves takes its items along.
            self._waiting.remove(call)
        return max(0.0, self._clock() - call.arrived_s - call.working_s)

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while run := self._next_run():
                await self._run(run)

    def _next_run(self) -> Run | None:
        now_s = self._clock()
        for call in self._waiting.all():
            try:
                if call.budget is not None:
                    call.budget.require(_least_s(call, now_s), HOP)
            except BudgetExhaustedError as error:
                call.fail(error)
                self._waiting.remove(call)
        return self._waiting.next_run(now_s)

    async def _run(self, run: Run) -> None:
        started_s = self._clock()
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._thread, run.work.run, run.items)
            found = dict(zip(run.items, results, strict=True))
        except Exception as error:  # noqa: BLE001 - each caller's guard logs it as its own
            self._fail(run, error)
            return
        ended_s = self._clock()
        run.work.learn(run.items, started_s, ended_s)
        sharing = [call for call in self._waiting_for(run.work) if call.take(found)]
        self._deliver(sharing, started_s, ended_s)

    def _waiting_for(self, work: Work[Any, Any]) -> list[Call[Any, Any]]:
        """Return the calls for one kind of work, also those that came while it ran."""
        return [call for call in self._waiting.all() if call.work is work]

    def _deliver(self, sharing: list[Call[Any, Any]], started_s: float, ended_s: float) -> None:
        """Account for a run to the calls that it served, and end those that lack nothing."""
        for call in sharing:
            call.working_s += ended_s - max(started_s, call.arrived_s)
            call.batch_size = max(call.batch_size, len(sharing))
            if not call.missing:
                self._waiting.remove(call)
                if not call.done.done():
                    call.done.set_result(None)

    def _fail(self, run: Run, error: Exception) -> None:
        for call in self._waiting_for(run.work):
            if call.missing.keys() & run.items:
                call.fail(error)
                self._waiting.remove(call)


def _least_s(call: Call[Any, Any], now_s: float) -> float:
    """Return the seconds that what is missing will surely take; 0 if that is not known."""
    pace_s = call.work.s_per_token(now_s)
    return _SURE * pace_s * sum(map(call.work.tokens, call.missing)) if pace_s else 0.0
