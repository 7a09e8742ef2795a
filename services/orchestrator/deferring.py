"""Makes a job of a question that cannot be answered while its caller waits."""

from __future__ import annotations

import json
from typing import Any

from libs.budget import Budget
from libs.clients.jobs import JobsClient
from libs.errors import MeshError
from libs.resilience import is_background
from libs.values import CacheControl, ModelTier, Quality, Question, Render
from libs.values.jobs import Submission
from services.orchestrator.hops import noted
from services.orchestrator.ledger import Ledger
from services.orchestrator.plan import BEST, EXTRACTIVE, FAST, Rungs
from services.orchestrator.policy import JOB as FALLS_BACK
from services.orchestrator.policy import Policy

JOB = "job"
KIND = "answer"
# What the job asks under: nobody waits for it any more.
JOBS_POLICY = "background"
# Refusals that more time, or less under way, may spare.
DEFERRED = ("NOT_WRITTEN", "BELOW_MINIMUM", "NOT_SEARCHED")
# It is waited for so long at least: a job is worth more than a refusal that is in time.
_LEAST_LIMIT_S = 0.25

_WRITERS = {ModelTier.BEST: BEST, ModelTier.FAST: FAST, ModelTier.EXTRACTIVE: EXTRACTIVE}


class Deferral:
    """The way of one question into a job, if its policy has one."""

    def __init__(
        self, jobs: JobsClient | None, question: Question, policy: Policy, best: ModelTier
    ) -> None:
        """Submit nothing yet.

        Args:
            jobs: who takes jobs; None is nobody.
            question: what is asked.
            policy: says whether it may become a job.
            best: the best tier there is.
        """
        self._jobs = jobs if policy.fallback == FALLS_BACK else None
        self._question = question
        self._best = best
        self._policy = policy

    @property
    def is_open(self) -> bool:
        """True if a job would be made.

        None is of use for what no time could better, or where nobody waits: a job that asks
        here is in the background itself.
        """
        return (
            self._jobs is not None
            and self._question.cache_control is not CacheControl.ONLY_IF_CACHED
            and self._question.minimum_quality <= _best_of(self._best)
            and not is_background()
        )

    @property
    def reserve_s(self) -> float:
        """The seconds that are kept for submitting."""
        return self._policy.costs.job if self.is_open else 0.0

    async def submit(self, run_id: str, budget: Budget, ledger: Ledger) -> str:
        """Have a job made, and return its name; nothing if nobody took it in time.

        Args:
            run_id: who submits; the same run makes one job.
            budget: the caller's time, of which `reserve_s` was kept for this.
            ledger: notes the hop.
        """
        if self._jobs is None:
            return ""
        in_time_s = budget.patience_s() - self._policy.costs.deliver
        limit_s = min(max(in_time_s, _LEAST_LIMIT_S), budget.remaining_s())
        record = ledger.start(JOB, limit_s)
        try:
            with noted(record), ledger.waiting(record):
                submitted = await self._jobs.submit(self._submission(run_id), limit_s=limit_s)
                record.end("ok")
        except MeshError:
            return ""
        return submitted.job.job_id

    def _submission(self, run_id: str) -> Submission:
        return Submission(
            tenant_id=self._question.tenant_id,
            kind=KIND,
            input=json.dumps(input_of(self._question), ensure_ascii=False).encode(),
            idempotency_key=f"run-{run_id}",
            scope=self._question.scope,
        )


def input_of(question: Question) -> dict[str, Any]:
    """Return a question as a job of the kind `answer` reads it; what is not set is left out."""
    members: dict[str, Any] = {
        "question": question.question,
        "collection": question.collection,
        "policy": JOBS_POLICY,
    }
    if question.history:
        members["history"] = [
            {"role": turn.role.name.lower(), "text": turn.text} for turn in question.history
        ]
    if question.filters:
        members["filters"] = [
            {"key": each.key, "any_of": list(each.any_of)} for each in question.filters
        ]
    if question.minimum_quality:
        members["minimum_quality"] = question.minimum_quality.name.lower()
    if question.cache_control is not CacheControl.DEFAULT:
        members["cache_control"] = question.cache_control.name.lower().replace("_", "-")
    if question.output_schema:
        members["output_schema"] = json.loads(question.output_schema)
    if question.render is Render.OUTLINE:
        # How text is cut into events is nothing to a job; an outline is another text.
        members["render"] = question.render.name.lower()
    return members


def _best_of(tier: ModelTier) -> Quality:
    """Return the best that can be made with all the time there is."""
    return Rungs(dense=True, writer=_WRITERS[tier]).quality
