"""A model that is late is covered for: by the fast one, or by the passages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster

from libs.values import FinishReason, Quality, Question
from tests.support.corpus import FACTS, TENANT
from tests.support.mesh import Mesh, Setting, open_mesh
from tests.support.provider.server import Provider
from tests.support.waiting import until

FACT = FACTS[0]
# Wide enough for a busy machine: the model is expected within half of it, the fast one sooner.
_POLICY = "covered"


def asked(minimum: Quality = Quality.UNSPECIFIED) -> Question:
    return Question(TENANT, FACT.question, policy=_POLICY, minimum_quality=minimum)


@pytest.fixture
async def mesh(
    redis_url: str, model_dir: Path, tmp_path: Path, provider: Provider, no_blocking: BlockBuster
) -> AsyncIterator[Mesh]:
    setting = Setting(redis_url, model_dir, tmp_path, provider_url=provider.url)
    async with open_mesh(setting, no_blocking) as opened:
        yield opened


async def test_the_fast_model_is_heard_when_the_best_one_is_silent(
    mesh: Mesh, provider: Provider
) -> None:
    provider.behave(first_text="60,0")
    told = await mesh.ask(asked())
    assert told.completed.quality is Quality.FAST
    assert told.completed.finish_reason is FinishReason.END_TURN
    assert told.lost == {"generation": "LATE"}
    assert told.whole.plan is not None
    assert told.completed.account.first_text_s is not None
    assert told.completed.account.first_text_s < told.whole.plan.first_text_by_s
    assert len(provider.calls) == 2

    async def is_cancelled() -> bool:
        return provider.calls[0].outcome == "cancelled"

    await until(is_cancelled)


async def test_the_plan_says_when_the_second_call_would_be_made(
    mesh: Mesh, provider: Provider
) -> None:
    plan = (await mesh.ask(asked())).whole.plan
    assert plan is not None
    assert plan.first_text_probability is not None
    assert plan.first_text_probability > 0.9
    text = plan.hops[-1]
    assert text.hedge_after_s is not None
    assert 0 < text.hedge_after_s < text.limit_s
    assert len(provider.calls) == 1


async def test_a_model_that_speaks_in_time_is_the_only_one_asked(
    mesh: Mesh, provider: Provider
) -> None:
    told = await mesh.ask(asked())
    assert told.completed.quality is Quality.FULL
    assert len(provider.calls) == 1


async def test_a_model_that_may_be_late_reads_fewer_passages(
    mesh: Mesh, provider: Provider
) -> None:
    """To the policy `brief` they are as good as all, so whatever is sooner is taken."""
    whole = await mesh.ask(asked(Quality.FULL))
    brief = await mesh.ask(Question(TENANT, FACTS[1].question, policy="brief"))
    assert (whole.completed.quality, brief.completed.quality) == (Quality.FULL, Quality.BRIEF)
    assert brief.lost == {"retrieval": "FEWER_PASSAGES"}
    all_of_them, half = (count_of_passages(call.request) for call in provider.calls)
    assert (all_of_them, half) == (6, 3)


def count_of_passages(request: Any) -> int:
    return json.dumps(request).count('"type": "search_result"')


async def test_if_both_are_silent_the_passages_speak_in_time(
    mesh: Mesh, provider: Provider
) -> None:
    provider.behave(first_text="60,60")
    told = await mesh.ask(asked())
    assert told.completed.quality is Quality.EXTRACTIVE
    assert told.completed.account.first_text_s is not None
    assert told.whole.plan is not None
    assert told.completed.account.first_text_s < told.whole.plan.first_text_by_s


async def test_a_lesser_stored_answer_is_better_than_sentences_of_the_passages(
    mesh: Mesh, provider: Provider
) -> None:
    """It is passed over while a better one can be made, and taken when none could."""
    provider.behave(first_text="60,0,60,60")
    first = await mesh.ask(asked())
    assert first.completed.quality is Quality.FAST

    async def is_stored() -> bool:
        return (await mesh.cache.stats(TENANT)).semantic_entry_count == 1

    await until(is_stored)
    second = await mesh.ask(asked())
    assert (second.layer, second.completed.quality) == ("EXACT", Quality.FAST)
    assert second.text == first.text
    assert len(provider.calls) == 4


async def test_who_wants_the_best_model_gets_no_other(mesh: Mesh, provider: Provider) -> None:
    provider.behave(first_text="60,0")
    told = await mesh.ask(asked(Quality.FULL))
    assert told.completed.quality is Quality.REFUSAL
    assert len(provider.calls) == 1
