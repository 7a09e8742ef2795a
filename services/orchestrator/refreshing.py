"""Makes stale answers anew, off the path of the callers that they were served to."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace

from opentelemetry.context import Context

from libs.budget import Budget, spending
from libs.errors import MeshError
from libs.resilience import background
from libs.telemetry import names, span
from libs.telemetry.metrics import count_refresh
from libs.values import AnswerState, CacheControl, Completed, Question
from libs.values.cache import Decision
from services.orchestrator.run import Run

_LOG = logging.getLogger(__name__)
# Within the cache's lease on a refresh (`CACHE_REFRESH_LEASE_S`), so that one is over before
# the next begins.
_END_S = 25.0
# Answers that are waited for go first; what is still stale is asked for again by its next hit.
_MOST_UNDER_WAY = 8

Start = Callable[[Question, Budget, float, str], Run]
"""Starts a run: of a question, within a budget, arrived at a time, under a name."""


class Refresher:
    """The refreshes that this replica was told to make."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: set[Run] = set()

    def refresh(self, question: Question, decision: Decision) -> str:
        """Begin to make a stale answer anew.

        Args:
            question: what was asked.
            decision: the stale hit; its answer may be of another question.

        Returns:
            The name of the run that does it; empty if too many are under way.
        """
        if len(self._tasks) >= _MOST_UNDER_WAY:
            count_refresh("too_many")
            return ""
        run_id = secrets.token_hex(16)
        task = asyncio.create_task(self._make(run_id, anew(question, decision)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run_id

    def stop(self) -> None:
        """End what is under way: the process ends, and others will do it."""
        for run in self._runs:
            run.stop()

    async def _make(self, run_id: str, question: Question) -> None:
        budget = Budget.of(_END_S)
        attributes = {names.TENANT_ID: question.tenant_id}
        # A trace of its own: the caller's has ended long before this does.
        outcome = "failed"
        try:
            with background(), spending(budget), span("refresh", attributes, Context()):
                run = self._start(question, budget, budget.clock(), run_id)
                outcome = await self._ended(run)
        except MeshError as error:
            _LOG.info("run %s makes nothing anew: %s", run_id, error.reason)
        count_refresh(outcome)

    async def _ended(self, run: Run) -> str:
        """Wait for the end of a run, and return what came of it."""
        self._runs.add(run)
        try:
            if run.task is not None:
                await asyncio.wait({run.task})
        finally:
            self._runs.discard(run)
        return _outcome(run)


def anew(question: Question, decision: Decision) -> Question:
    """Return the question that makes a stale answer anew.

    What is stored is replaced only by what is as good. Readers may come and go: the run is
    not for them.
    """
    return replace(
        question,
        question=decision.question or question.question,
        minimum_quality=decision.quality,
        cache_control=CacheControl.REFRESH,
        resumable=True,
    )


def _outcome(run: Run) -> str:
    last = run.events[-1].event if run.events else None
    is_made = isinstance(last, Completed) and last.answer_state is AnswerState.COMPLETE
    return "made" if is_made else "failed"
