"""What cannot be answered while its caller waits becomes a job, where a policy says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from libs.resilience import background
from libs.server.testing import serving
from libs.values import (
    AnswerState,
    CacheControl,
    Filter,
    FinishReason,
    Outline,
    Quality,
    Question,
    Render,
    Role,
    StageFinished,
    TextDelta,
    Turn,
)
from services.orchestrator.policy import Policy
from tests.support.blocking import blocking
from tests.support.corpus import FACTS, TENANT, other
from tests.support.desk import Desk
from tests.support.mesh import Mesh, Setting, Told, open_mesh
from tests.support.provider import Provider

FACT = FACTS[0]
FILE = "of_the_fallback.toml"
POLICIES = """
[deferring]
fallback = "job"
first_text_s = 0.6
lookup_limit_s = 5.0

[deferring.costs]
model_first_text = 0.1

[strict]
first_text_s = 0.6
lookup_limit_s = 5.0

[strict.costs]
model_first_text = 0.1
"""
# Why there is no answer; a machine that is busy does not get far.
REASONS = ("BELOW_MINIMUM", "NOT_WRITTEN", "NOT_SEARCHED")
# Nothing but the model's own text will do, and the model never speaks.
ASKED = Question(TENANT, FACT.question, policy="deferring", minimum_quality=Quality.FULL)


@pytest.fixture
async def desk() -> Desk:
    return Desk()


@pytest.fixture
async def mesh(
    redis_url: str,
    model_dir: Path,
    tmp_path: Path,
    provider: Provider,
    desk: Desk,
    no_blocking: BlockBuster,
) -> AsyncIterator[Mesh]:
    with blocking(no_blocking):
        (tmp_path / FILE).write_text(POLICIES)
    provider.behave(first_text="60")
    async with serving(desk.register) as address:
        settings = {"policies_file": tmp_path / FILE, "jobs_target": address}
        setting = Setting(
            redis_url,
            model_dir,
            tmp_path,
            provider_url=provider.url,
            settings={"orchestrator": settings, "other": settings},
        )
        async with open_mesh(setting, no_blocking) as opened:
            yield opened


def is_deferred(told: Told) -> bool:
    return told.completed.answer_state is AnswerState.DEFERRED


def is_refused(told: Told) -> bool:
    return told.completed.answer_state is AnswerState.REFUSED and not told.completed.job_id


async def test_a_stream_that_cannot_be_met_ends_with_the_address_of_a_job(
    mesh: Mesh, desk: Desk
) -> None:
    told = await mesh.ask(ASKED)
    assert is_deferred(told)
    assert told.completed.job_id == "job-1"
    assert told.completed.finish_reason is FinishReason.NO_ANSWER
    assert told.completed.quality is Quality.REFUSAL
    assert told.lost["answer"] in REASONS
    assert "in the background" in told.text
    hops = {hop.hop: hop.outcome for hop in told.completed.account.hops}
    assert hops["job"] == "ok"
    plan, account = told.whole.plan, told.completed.account
    assert plan is not None
    assert account.first_text_s is not None
    assert account.first_text_s < plan.end_by_s
    assert "ok" in [each.outcome for each in told.of(StageFinished) if each.hop == "job"]
    assert told.whole.members(told.completed)["job_id"] == "job-1"
    (taken,) = desk.taken
    assert (taken.tenant_id, taken.kind) == (TENANT, "answer")
    assert taken.idempotency_key == f"run-{told.run_id}"


async def test_a_job_asks_what_was_asked_with_more_time(mesh: Mesh, desk: Desk) -> None:
    # Nothing is found so, but that is not known either.
    await mesh.rooms["retrieval"].close()
    told = await mesh.ask(
        replace(
            ASKED,
            history=(Turn(Role.USER, "Hello"), Turn(Role.ASSISTANT, "Hello!")),
            filters=(Filter("language", ("none",)),),
            cache_control=CacheControl.NO_STORE,
            output_schema='{"type": "object"}',
            scope="staff",
        )
    )
    assert is_deferred(told)
    assert desk.taken[0].scope == "staff"
    assert desk.inputs == [
        {
            "question": FACT.question,
            "collection": "default",
            "policy": "background",
            "history": [
                {"role": "user", "text": "Hello"},
                {"role": "assistant", "text": "Hello!"},
            ],
            "filters": [{"key": "language", "any_of": ["none"]}],
            "minimum_quality": "full",
            "cache_control": "no-store",
            "output_schema": {"type": "object"},
        }
    ]


async def test_an_outline_stays_one_as_a_job(mesh: Mesh, desk: Desk) -> None:
    told = await mesh.ask(replace(ASKED, render=Render.OUTLINE))
    assert is_deferred(told)
    assert not told.of(TextDelta)
    assert told.of(Outline)
    assert desk.inputs[0]["render"] == "outline"


async def test_what_is_answered_in_time_is_no_job(
    mesh: Mesh, desk: Desk, provider: Provider
) -> None:
    provider.behave(first_text="0")
    patient = replace(ASKED, first_text_by_s=10.0)
    assert (await mesh.ask(patient)).completed.answer_state is AnswerState.COMPLETE
    provider.behave(status=500)
    lesser = replace(patient, question=FACTS[1].question, minimum_quality=Quality.EXTRACTIVE)
    assert (await mesh.ask(lesser)).completed.quality is Quality.EXTRACTIVE
    assert not desk.taken


async def test_what_no_job_is_asked_for_is_refused(mesh: Mesh, desk: Desk) -> None:
    for question in (
        replace(ASKED, policy="strict"),
        replace(ASKED, cache_control=CacheControl.ONLY_IF_CACHED),
        replace(ASKED, filters=(Filter("language", ("none",)),), first_text_by_s=10.0),
    ):
        assert is_refused(await mesh.ask(question))
    with background():
        assert is_refused(await mesh.ask(ASKED))
    assert not desk.taken


async def test_without_a_desk_the_refusal_is_as_it_was(mesh: Mesh, desk: Desk) -> None:
    desk.is_full = True
    told = await mesh.ask(ASKED)
    assert is_refused(told)
    assert told.lost["job"] == "UNAVAILABLE"
    assert told.lost["answer"] in REASONS


async def test_a_silent_desk_is_not_waited_for(mesh: Mesh, desk: Desk) -> None:
    desk.silent_s = 60.0
    told = await mesh.ask(ASKED, limit_s=10)
    assert is_refused(told)
    assert told.lost["job"] == "UNAVAILABLE"
    (hop,) = [hop for hop in told.completed.account.hops if hop.hop == "job"]
    assert hop.outcome == "TIMED_OUT"


async def test_nothing_to_search_in_time_becomes_a_job(mesh: Mesh, desk: Desk) -> None:
    await mesh.rooms["retrieval"].close()
    told = await mesh.ask(replace(ASKED, minimum_quality=Quality.UNSPECIFIED))
    assert is_deferred(told)
    assert told.lost["answer"] == "NOT_SEARCHED"
    assert len(desk.taken) == 1


async def test_those_who_asked_together_have_one_job(mesh: Mesh, desk: Desk) -> None:
    await mesh.rooms["retrieval"].close()
    # So that all have come before the first one has its job.
    desk.silent_s = 1.0
    patient = replace(ASKED, first_text_by_s=20.0)
    tolds = await asyncio.gather(*(mesh.ask(patient) for _ in range(3)))
    assert all(map(is_deferred, tolds))
    assert {told.completed.job_id for told in tolds} == {"job-1"}
    assert len(desk.taken) == 1


async def test_who_follows_but_wants_no_job_is_refused(mesh: Mesh, desk: Desk) -> None:
    strict = replace(ASKED, policy="strict")
    tolds = await asyncio.gather(mesh.ask(ASKED), mesh.ask(strict))
    assert is_deferred(tolds[0])
    assert is_refused(tolds[1])
    assert len(desk.taken) == 1


async def test_who_follows_who_wants_none_has_a_job_of_its_own(mesh: Mesh, desk: Desk) -> None:
    strict = replace(ASKED, policy="strict")
    tolds = await asyncio.gather(mesh.ask(strict), mesh.ask(ASKED))
    assert is_refused(tolds[0])
    assert is_deferred(tolds[1])
    assert len(desk.taken) == 1


@pytest.mark.prove
async def test_a_job_is_submitted_in_less_than_is_kept_for_it(mesh: Mesh, desk: Desk) -> None:
    await mesh.rooms["retrieval"].close()
    used_s = []
    for number in range(100):
        told = await mesh.ask(replace(ASKED, question=other(number), first_text_by_s=10.0))
        assert is_deferred(told)
        used_s += [hop.used_s for hop in told.completed.account.hops if hop.hop == "job"]
    used_s.sort()
    p50_ms, p95_ms = (used_s[int(share * len(used_s))] * 1e3 for share in (0.5, 0.95))
    print(f"submit p50 {p50_ms:.1f} ms, p95 {p95_ms:.1f} ms, most {used_s[-1] * 1e3:.1f} ms")
    assert p95_ms < Policy("p").costs.job * 1e3
