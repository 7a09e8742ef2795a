"""What every answer over HTTP goes through, in whatever form it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from libs.budget import Budget, spending
from libs.clients.answer import AnswerClient
from libs.errors import BudgetExhaustedError, MeshError, RunNotFoundError, UnreachableError
from libs.values import SHOWN, AnswerEvent, Completed, Plan, Question
from services.edge.access.caller import Caller
from services.edge.access.quotas import Quotas
from services.edge.answers.following import Follower
from services.edge.problem import Problem, ProblemError
from services.edge.web.exchange import Exchange
from services.edge.web.metrics import EdgeMetrics

EVENTS_PATH = "/v1/runs/{run}/events"
# A first text that is due at once is still asked for: what there is then is up to the plan.
_LEAST_PATIENCE_S = 0.001

Take = Callable[[AnswerEvent], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long an answer may take.

    Attributes:
        max_deadline_s: seconds that an answer may take at most.
        ping_every_s: seconds of silence in a stream that are too long.
        retry_ms: milliseconds after which a reader that lost its stream should come again.
    """

    max_deadline_s: float
    ping_every_s: float
    retry_ms: int = 1000


@dataclass(slots=True)
class _Seen:
    """How far a run was read; `run_id` is its name if it goes on without its reader."""

    name: str = ""
    run_id: str = ""
    last: int = 0


class Answering:
    """Asks the orchestrator, and counts what comes of it.

    Args:
        client: the orchestrator.
        pace: how long an answer may take.
        metrics: where answers are counted.
        clock: seconds that only go forward.
        quotas: where the tokens of answers are counted; None counts none.
    """

    def __init__(
        self,
        client: AnswerClient,
        pace: Pace,
        metrics: EdgeMetrics,
        clock: Callable[[], float],
        quotas: Quotas | None = None,
    ) -> None:
        self.pace = pace
        self._follower = Follower(client, clock)
        # What is only counted must end as if nobody read it.
        self._onlooker = Follower(client, clock, passive=True)
        self._metrics = metrics
        self._clock = clock
        self._quotas = quotas
        self._counting: set[asyncio.Task[None]] = set()

    def patience_s(self, exchange: Exchange, budget_ms: float | None) -> float | None:
        """Return what is left of the time to the first text, which counts from arrival."""
        if budget_ms is None:
            return None
        return max(_LEAST_PATIENCE_S, exchange.arrived_s + budget_ms / 1e3 - self._clock())

    async def run(
        self, exchange: Exchange, question: Question, deadline_s: float | None, take: Take
    ) -> Completed:
        """Ask, hand over each event, and return the last.

        Args:
            exchange: the request.
            question: what is asked.
            deadline_s: seconds from the request's arrival to the hard end; None leaves it to
                the policy.
            take: is told each event, in order.

        Raises:
            ProblemError: the orchestrator refused, failed or broke off; of a run that can be
                read on it says where.
        """
        seen = _Seen()
        try:
            with spending(self._budget(exchange, deadline_s)):
                completed = await self._follow(exchange, question, take, seen)
        except BaseException:
            self._count_later(exchange.caller, seen)
            raise
        await self._count(exchange.caller, completed)
        return completed

    async def _follow(
        self, exchange: Exchange, question: Question, take: Take, seen: _Seen
    ) -> Completed:
        has_text = False
        try:
            async with (
                asyncio.timeout(self.pace.max_deadline_s),
                aclosing(self._follower.ask(question)) as events,
            ):
                async for numbered in events:
                    event = numbered.event
                    if isinstance(event, Plan):
                        seen.name = event.run_id
                        seen.run_id = event.run_id if question.resumable else ""
                    await take(numbered)
                    # Not before: whose reader leaves at the last event has it counted later.
                    seen.last = numbered.sequence
                    if isinstance(event, SHOWN) and not has_text:
                        has_text = True
                        after_s = self._clock() - exchange.arrived_s
                        self._metrics.first_text(exchange.form, after_s)
                    elif isinstance(event, Completed):
                        return event
        except TimeoutError as late:
            raise _said(seen.run_id, BudgetExhaustedError("no answer takes longer")) from late
        except RunNotFoundError as error:
            # It was lost before anything of it was written down: there is nothing to read on.
            seen.name = seen.run_id = ""
            raise _said("", UnreachableError("the run was lost")) from error
        except MeshError as error:
            raise _said(seen.run_id, error) from error
        raise _said(seen.run_id, UnreachableError("the answer ended without its last event"))

    async def _count(self, caller: Caller, completed: Completed) -> None:
        self._metrics.answer(completed)
        if self._quotas is None:
            return
        if completed.usage is not None:
            usage = completed.usage
            await self._quotas.charge(caller, usage.input_tokens + usage.output_tokens)
        if completed.job_id:
            await self._quotas.owe(caller, completed.job_id)

    def _count_later(self, caller: Caller, seen: _Seen) -> None:
        """Count a run that its reader has left once it ends: what it took by then is spent."""
        if not seen.name or self._quotas is None or not self._quotas.counts_tokens(caller):
            return
        # Of no request any more: what is left of its time does not count here.
        counting = self._count_at_end(caller, seen)
        task = asyncio.create_task(counting)
        self._counting.add(task)
        task.add_done_callback(self._counting.discard)

    async def _count_at_end(self, caller: Caller, seen: _Seen) -> None:
        with suppress(MeshError, TimeoutError):
            async with (
                asyncio.timeout(self.pace.max_deadline_s),
                aclosing(self._onlooker.follow(caller.reader, seen.name, seen.last)) as events,
            ):
                async for numbered in events:
                    if isinstance(numbered.event, Completed):
                        await self._count(caller, numbered.event)

    def _budget(self, exchange: Exchange, deadline_s: float | None) -> Budget | None:
        if deadline_s is None:
            return None
        end_by_s = exchange.arrived_s + deadline_s
        return Budget(end_by_s, end_by_s, self._clock)


def resumable_at(run_id: str, error: MeshError) -> ProblemError:
    """Return a problem that says where a run can be read on."""
    return ProblemError(replace(Problem.of(error), resume_at=EVENTS_PATH.format(run=run_id)))


def _said(run_id: str, error: MeshError) -> ProblemError:
    """Return an error as a problem; it says where to read on, if there is a run for that."""
    return resumable_at(run_id, error) if run_id else ProblemError(Problem.of(error))
