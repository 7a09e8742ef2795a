"""What a run tells its caller and its trace: text, refusals, the last event, the account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from opentelemetry.trace import Span

from libs.budget import Budget
from libs.telemetry import names
from libs.values import (
    SHOWN,
    AnswerState,
    CacheHit,
    Completed,
    Degradation,
    Event,
    FinishReason,
    ModelTier,
    Plan,
    Quality,
    Question,
    Revised,
    Usage,
)
from libs.values.account_json import account_to_json
from libs.values.cache import Decision
from services.orchestrator.ledger import Ledger
from services.orchestrator.outlining import Said
from services.orchestrator.plan import FEWER_PASSAGES, NO_TIME, Outline, Rungs, given_up
from services.orchestrator.render import Renderer
from services.orchestrator.run import Run
from services.orchestrator.writing import Written

# Text that its block has held so long without a word more is sent as it is.
_MOST_SILENCE_S = 1.0

REFUSALS = {
    "NOTHING_FOUND": "No answer: nothing in the collection speaks of this.",
    "NOT_IN_SOURCES": "No answer: the passages that were found do not hold it.",
    "NOT_SEARCHED": "No answer: the documents could not be searched now.",
    "NOT_WRITTEN": "No answer: it could not be written now.",
    "NOT_CACHED": "No answer: it is not in the cache, and only the cache was to be asked.",
    "BELOW_MINIMUM": "No answer: what could be answered now is below the quality asked for.",
    "STOPPED": "No answer: the run was stopped.",
}
_DEFERRED = "No answer yet: there is no time for it now, so it is made in the background."


class Refused(Exception):  # noqa: N818 - no error: it is an answer
    """Nothing can be answered; the argument is a reason of `REFUSALS`."""


class Report:
    """Tells one run's story.

    Attributes:
        ledger: the account in the making.
        quality: the rung that the text now written will reach.
    """

    def __init__(
        self, question: Question, run: Run, ledger: Ledger, span: Span, best: ModelTier
    ) -> None:
        self.ledger = ledger
        self.quality = Quality.UNSPECIFIED
        self._question = question
        self._run = run
        self._span = span
        self._best = best
        self._renderer = Renderer(question)
        self._fed_at_s = 0.0
        self._silence: asyncio.TimerHandle | None = None
        self._lost: list[Degradation] = []
        self._spent: Callable[[], Usage | None] = lambda: None

    def begin(self, outline: Outline, budget: Budget, *, is_answered: bool = False) -> None:
        """Send the plan; of a run that a stored answer has ended, without what it saved."""
        rungs = outline.rungs
        self._lost += given_up(rungs, self._best)
        context = self._span.get_span_context()
        if not is_answered and self._span.is_recording():
            self._span.set_attribute(names.PROMISED, round(outline.promised, 4))
        plan = Plan(
            run_id=self._run.run_id,
            trace_id=f"{context.trace_id:032x}" if context.is_valid else "",
            policy=self._question.policy,
            first_text_by_s=budget.first_text_by_s - self.ledger.started_s,
            end_by_s=budget.end_by_s - self.ledger.started_s,
            target_quality=rungs.quality,
            degradations=tuple(self._lost),
            first_text_probability=None if is_answered else outline.promised,
            hops=() if is_answered else outline.hops,
        )
        self._run.emit(plan)

    def spends(self, spent: Callable[[], Usage | None]) -> None:
        """Ask `spent` for the tokens of the text in the making if the run is stopped."""
        self._spent = spent

    def lose(self, degradation: Degradation) -> None:
        """Note something that the run does without."""
        if degradation not in self._lost:
            self._lost.append(degradation)

    def settle(self, rungs: Rungs) -> None:
        """Note what is done without in the end; the time may be other than it was planned for."""
        planned = (NO_TIME, FEWER_PASSAGES)
        self._lost[:] = [each for each in self._lost if each.reason not in planned]
        for each in given_up(rungs, self._best):
            if each.hop not in {lost.hop for lost in self._lost}:
                self._lost.append(each)

    def text(self, event: Said) -> None:
        """Send a piece of the text as far as rendering lets it through."""
        self._send(self._renderer.feed(event))
        if self._renderer.holds:
            self._await_more()

    @property
    def is_whole(self) -> bool:
        """True while the run does without nothing."""
        return not self._lost

    def tell(self, event: Event) -> None:
        """Send an event of a stored answer as far as rendering lets it through."""
        self._send(self._renderer.feed(event))
        if self._renderer.holds:
            self._await_more()

    def revise(self, revised: Revised) -> None:
        """Withdraw the text sent so far."""
        self._send(self._renderer.feed(revised))

    def pass_on(self, events: Iterable[Event]) -> None:
        """Send events of another run; they are rendered already."""
        self._send(events)

    def share(self, completed: Completed, followed_run_id: str) -> None:
        """Send the last event of a run that another run's answer was passed on in."""
        self.quality = completed.quality
        self._lost[:] = completed.degradations
        last = self._last(
            completed.finish_reason,
            completed.answer_state,
            completed.model,
            hit=completed.cache_hit,
            followed_run_id=followed_run_id,
            job_id=completed.job_id,
        )
        self._end(last)

    def replay(self, events: Iterable[Event], decision: Decision, hit: CacheHit) -> None:
        """Send a stored answer, or what is left of it, and the last event."""
        self.ledger.saw_text()
        rendered = [ready for event in events for ready in self._renderer.feed(event)]
        rendered += self._renderer.end()
        self.quality = decision.quality
        # What this run would have done without is not what the stored answer lacks.
        self._lost.clear()
        state = AnswerState.COMPLETE
        if decision.refusal:
            state = AnswerState.REFUSED
            self.lose(Degradation("answer", decision.refusal))
        completed = self._last(decision.finish_reason, state, decision.model, hit=hit)
        self._end(completed, *rendered)

    def complete(
        self, written: Written, state: AnswerState, followed_run_id: str = ""
    ) -> Completed:
        """Send what is left of the text, and the last event."""
        self._send(self._renderer.end())
        completed = self._last(
            written.finish_reason,
            state,
            written.model,
            usage=written.usage,
            followed_run_id=followed_run_id,
        )
        self._end(completed)
        return completed

    def refuse(self, reason: str) -> None:
        """Say that there is no answer, and why."""
        self.lose(Degradation("answer", reason))
        self._refuse(FinishReason.NO_ANSWER, reason)

    def defer(self, reason: str, job_id: str) -> None:
        """Say that a job answers in place of this run, and why."""
        self.lose(Degradation("answer", reason))
        self._no_answer(FinishReason.NO_ANSWER, AnswerState.DEFERRED, _DEFERRED, job_id)

    def stop(self) -> None:
        """End the text where it is, as `StopAnswer` asked."""
        if self.ledger.first_text_at_s is None:
            self._refuse(FinishReason.STOPPED, "STOPPED", self._spent())
            return
        self._send(self._renderer.end())
        usage = self._spent()
        self._end(self._last(FinishReason.STOPPED, AnswerState.PARTIAL, "", usage=usage))

    def close(self) -> None:
        """Send nothing more of what is held."""
        if self._silence is not None:
            self._silence.cancel()

    def _refuse(self, finish_reason: FinishReason, reason: str, usage: Usage | None = None) -> None:
        self._no_answer(finish_reason, AnswerState.REFUSED, REFUSALS[reason], usage=usage)

    def _no_answer(
        self,
        finish_reason: FinishReason,
        state: AnswerState,
        text: str,
        job_id: str = "",
        usage: Usage | None = None,
    ) -> None:
        self.quality = Quality.REFUSAL
        self.ledger.saw_text()
        completed = self._last(finish_reason, state, "", usage=usage, job_id=job_id)
        self._end(completed, *self._renderer.alone(text))

    def _await_more(self) -> None:
        """Have what a block holds sent when nothing more of it comes for long."""
        loop = asyncio.get_running_loop()
        self._fed_at_s = loop.time()
        if self._silence is None:
            self._silence = loop.call_later(_MOST_SILENCE_S, self._on_silence)

    def _on_silence(self) -> None:
        loop, self._silence = asyncio.get_running_loop(), None
        due_s = self._fed_at_s + _MOST_SILENCE_S
        if self._renderer.holds and loop.time() < due_s:
            self._silence = loop.call_at(due_s, self._on_silence)
        else:
            self._send(self._renderer.overdue())

    def _send(self, events: Iterable[Event]) -> None:
        ready = list(events)
        if any(isinstance(event, SHOWN) for event in ready):
            self.ledger.saw_text()
        if ready:
            self._run.emit(*ready)

    def _last(
        self,
        reason: FinishReason,
        state: AnswerState,
        model: str,
        *,
        usage: Usage | None = None,
        hit: CacheHit | None = None,
        followed_run_id: str = "",
        job_id: str = "",
    ) -> Completed:
        account = self.ledger.close()
        lost, quality = tuple(self._lost), self.quality
        return Completed(
            reason, state, quality, account, lost, model, usage, hit, followed_run_id, job_id
        )

    def _end(self, completed: Completed, *before: Event) -> None:
        """Send the last events, and then tell the trace, which nobody waits for.

        In this order: the reader wakes first, and its call cannot end before the trace is
        told, in the same pass of the loop.
        """
        self.close()
        self._run.emit(*before, completed)
        asyncio.get_running_loop().call_soon(_describe, self._span, completed)


def _describe(span: Span, completed: Completed) -> None:
    """Write onto the root span what an operator asks of a trace."""
    if not span.is_recording():
        return
    span.set_attribute(names.ACCOUNT, account_to_json(completed.account))
    span.set_attribute(names.QUALITY, completed.quality.name)
    span.set_attribute(names.FINISH_REASON, completed.finish_reason.name)
    span.set_attribute(
        names.DEGRADATIONS, [f"{each.hop}:{each.reason}" for each in completed.degradations]
    )
    hit = completed.cache_hit
    span.set_attribute(names.CACHE_LAYER, "MISS" if hit is None else hit.layer.name)
