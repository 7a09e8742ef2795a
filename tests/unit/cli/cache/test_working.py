from __future__ import annotations

import asyncio

import pytest

from cli.cache.working import at_once, patiently
from libs.errors import OverloadedError, PolicyNotFoundError
from libs.values import Render
from services.orchestrator.policy import load_policies


async def test_no_more_is_under_way_than_was_said_and_all_of_it_is_done() -> None:
    under_way, most, done = 0, 0, []

    async def work(item: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        done.append(item)

    await at_once(3, range(20), work)
    assert sorted(done) == list(range(20))
    assert most == 3


async def test_what_one_raises_is_raised_as_it_was() -> None:
    async def work(item: int) -> None:
        if item == 2:
            raise PolicyNotFoundError("none of that name")

    with pytest.raises(PolicyNotFoundError, match="none of that name"):
        await at_once(2, range(5), work)


async def test_a_call_is_made_again_when_the_server_has_too_much_to_do() -> None:
    calls = 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise OverloadedError("busy", retry_after_s=0.001)
        return "done"

    assert await patiently(call, pause_s=0.0) == "done"


async def test_a_server_that_stays_overloaded_is_given_up() -> None:
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise OverloadedError("busy")

    with pytest.raises(OverloadedError):
        await patiently(call, pause_s=0.0)
    assert calls == 6


def test_what_is_warmed_behind_other_work_is_found_by_those_in_a_hurry() -> None:
    policies = load_policies(None)
    background, interactive = policies.named("background"), policies.named("interactive")
    assert background.settings_fingerprint("m") == interactive.settings_fingerprint("m")
    token = Render.TOKEN
    assert background.system_version(token) == interactive.system_version(token)
