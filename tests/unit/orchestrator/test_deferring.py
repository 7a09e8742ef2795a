"""What becomes a job is asked by it as it was asked here, and what no time could better is none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import pytest

from libs.resilience import background
from libs.values import CacheControl, Filter, ModelTier, Quality, Question, Render, Role, Turn
from services.jobs.kinds.answer import AnswerInput
from services.jobs.kinds.kind import Task
from services.orchestrator.deferring import Deferral, input_of
from services.orchestrator.policy import JOB, NONE, Policy

QUESTION = Question("acme", "Why is the sky blue?")
JOBS = cast("Any", object())


def is_open(
    question: Question = QUESTION,
    *,
    fallback: str = JOB,
    jobs: Any = JOBS,
    best: ModelTier = ModelTier.BEST,
) -> bool:
    return Deferral(jobs, question, Policy("p", fallback=fallback), best).is_open


@pytest.mark.parametrize(
    "question",
    [
        QUESTION,
        replace(
            QUESTION,
            history=(Turn(Role.USER, "Hello"), Turn(Role.ASSISTANT, "Hello!")),
            collection="docs",
            filters=(Filter("language", ("en", "de")),),
            minimum_quality=Quality.FAST_LEXICAL,
            cache_control=CacheControl.NO_STORE,
            output_schema='{"type": "object"}',
            scope="staff",
        ),
        replace(QUESTION, render=Render.OUTLINE),
    ],
)
def test_a_job_asks_the_same_question(question: Question) -> None:
    given = AnswerInput.model_validate_json(json.dumps(input_of(question)))
    asked = given.question_of(Task(question.tenant_id, "j1", 1, question.scope))
    assert asked == replace(question, policy="background")


def test_a_policy_says_whether_there_is_a_job_and_needs_someone_who_takes_it() -> None:
    assert is_open()
    assert not is_open(fallback=NONE)
    assert not is_open(jobs=None)


def test_there_is_no_job_where_nobody_waits_or_no_time_would_help() -> None:
    assert not is_open(replace(QUESTION, cache_control=CacheControl.ONLY_IF_CACHED))
    with background():
        assert not is_open()
    full = replace(QUESTION, minimum_quality=Quality.FULL)
    assert is_open(full)
    assert not is_open(full, best=ModelTier.FAST)
    assert is_open(replace(full, minimum_quality=Quality.FAST), best=ModelTier.FAST)


def test_time_is_kept_for_submitting_only_where_something_may_be_submitted() -> None:
    policy = Policy("p", fallback=JOB)
    kept = Deferral(JOBS, QUESTION, policy, ModelTier.BEST)
    assert kept.reserve_s == policy.costs.job
    assert Deferral(None, QUESTION, policy, ModelTier.BEST).reserve_s == 0.0
