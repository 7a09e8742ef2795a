"""The edge over a real orchestrator: what outlives its connection, and what does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster

from services.edge.access.caller import Caller
from services.edge.access.quota import Plans, Quota
from services.edge.access.quotas import Quotas
from tests.support.corpus import FACTS, TENANT
from tests.support.edges import SSE, Edge, Frames, frames_of, open_edge, text_of
from tests.support.mesh import Mesh, Setting, open_mesh
from tests.support.provider import Provider
from tests.support.waiting import until

ASK = {"question": FACTS[0].question, "policy": "endless"}
TTL_S = 1.5


@pytest.fixture
async def mesh(
    redis_url: str, model_dir: Path, tmp_path: Path, provider: Provider, no_blocking: BlockBuster
) -> AsyncIterator[Mesh]:
    """A mesh whose runs are soon forgotten."""
    settings = {"orchestrator": {"run_ttl_s": TTL_S}, "orchestrator-2": {"run_ttl_s": TTL_S}}
    setting = Setting(redis_url, model_dir, tmp_path, provider_url=provider.url, settings=settings)
    async with open_mesh(setting, no_blocking) as opened:
        yield opened


async def until_text(edge: Edge, body: dict[str, Any]) -> tuple[str, Frames, float]:
    """Ask, leave once there is text, and return the run, what was seen, and when that was."""
    async with edge.http.stream("POST", "/v1/answers", json=body, headers=SSE) as response:
        seen = ""
        async for text in response.aiter_text():
            seen += text
            if "event: text" in seen:
                left_s = time.monotonic()
                break
    frames = frames_of(seen.rpartition("\n\n")[0])
    return frames[0][2]["run_id"], frames, left_s


async def test_a_resumable_run_outlives_its_reader_and_is_never_made_twice(
    mesh: Mesh, provider: Provider
) -> None:
    provider.behave(words=30, gap="0.02")
    await mesh.add_orchestrator("orchestrator-2")
    async with (
        open_edge(mesh.connections["orchestrator"], tenant=TENANT) as edge,
        open_edge(mesh.connections["orchestrator-2"], tenant=TENANT) as other,
    ):
        run_id, seen, _ = await until_text(edge, ASK | {"resumable": True})
        path, last = f"/v1/runs/{run_id}/events", seen[-1][0]
        response = await other.http.get(path, headers=SSE | {"Last-Event-ID": last})
        whole = frames_of((await other.http.get(path)).text)
        assert [*seen, *frames_of(response.text)][:-1] == whole[:-1]
        state = (await other.http.get(f"/v1/runs/{run_id}")).json()
        assert (state["state"], state["answer"]) == ("ended", text_of(whole))
        assert whole[-1][2]["finish_reason"] == "end_turn"

        async def is_forgotten() -> bool:
            return (await other.http.get(path)).status_code == 404

        await asyncio.sleep(TTL_S)
        await until(is_forgotten)
        assert (await other.http.get(f"/v1/runs/{run_id}")).status_code == 404
    assert len(provider.calls) == 1


async def test_only_who_may_name_the_scope_of_a_run_can_read_it(mesh: Mesh) -> None:
    scopes = ({"legal"}, {"hr", "sales"}, {"*"})
    callers = [Caller(TENANT, "k", frozenset({"answers"}), frozenset(each)) for each in scopes]
    connection = mesh.connections["orchestrator"]
    async with (
        open_edge(connection, caller=callers[0]) as edge,
        open_edge(connection, caller=callers[1]) as stranger,
        open_edge(connection, caller=callers[2]) as anyone,
    ):
        asked = {"question": FACTS[0].question, "scope": "legal"}
        run_id = (await edge.http.post("/v1/answers", json=asked)).json()["run_id"]
        path = f"/v1/runs/{run_id}"
        for other in (edge, anyone):
            assert (await other.http.get(path)).json()["state"] == "ended"
            assert (await other.http.get(f"{path}/events")).status_code == 200
            assert (await other.http.post(f"{path}/stop")).json() == {"stopping": False}
            judged = await other.http.post(f"{path}/feedback", json={"verdict": "good"})
            assert judged.json() == {"removed": False}
        refused = (
            await stranger.http.get(path),
            await stranger.http.get(f"{path}/events"),
            await stranger.http.post(f"{path}/stop"),
            await stranger.http.post(f"{path}/feedback", json={"verdict": "bad"}),
        )
        assert {each.json()["reason"] for each in refused} == {"RUN_NOT_FOUND"}


async def test_a_run_that_is_not_resumable_ends_with_its_reader(
    mesh: Mesh, provider: Provider
) -> None:
    provider.behave(words=500, gap="0.02")
    async with open_edge(mesh.connections["orchestrator"], tenant=TENANT) as edge:
        await until_text(edge, ASK)
        await asyncio.wait_for(provider.until(1, "cancelled"), 10)


async def test_a_run_that_its_reader_left_ends_although_it_is_waited_for_to_be_counted(
    mesh: Mesh, provider: Provider
) -> None:
    provider.behave(words=500, gap="0.02")
    quotas = Quotas(Plans(Quota(tokens_per_day=1)))
    async with open_edge(mesh.connections["orchestrator"], tenant=TENANT, quotas=quotas) as edge:
        await until_text(edge, ASK)
        await asyncio.wait_for(provider.until(1, "cancelled"), 8)

        async def is_refused() -> bool:
            return (await edge.http.get("/v1/runs/of-nobody")).status_code == 429

        await until(is_refused)


async def test_a_resumable_run_is_ended_by_whoever_says_so(mesh: Mesh, provider: Provider) -> None:
    provider.behave(words=500, gap="0.02")
    async with open_edge(mesh.connections["orchestrator"], tenant=TENANT) as edge:
        run_id, _, _ = await until_text(edge, ASK | {"resumable": True})
        assert (await edge.http.post(f"/v1/runs/{run_id}/stop")).json() == {"stopping": True}
        frames = frames_of((await edge.http.get(f"/v1/runs/{run_id}/events")).text)
        assert frames[-1][2]["finish_reason"] == "stopped"
        assert (await edge.http.post(f"/v1/runs/{run_id}/stop")).json() == {"stopping": False}


@pytest.mark.prove
async def test_who_leaves_cancels_everything_below_within_150_ms(
    mesh: Mesh, provider: Provider
) -> None:
    provider.behave(words=500, gap="0.02")
    waits_s = []
    async with open_edge(mesh.connections["orchestrator"], tenant=TENANT) as edge:
        for number in range(1, 21):
            fact = FACTS[number % len(FACTS)]
            body = {"question": fact.question, "policy": "endless", "cache_control": "bypass"}
            _, _, left_s = await until_text(edge, body)
            call = await asyncio.wait_for(provider.until(number, "cancelled"), 10)
            assert call.ended_s is not None
            waits_s.append(call.ended_s - left_s)
    print(f"edge: left to cancelled at the provider: longest {max(waits_s) * 1e3:.0f} ms")
    assert max(waits_s) <= 0.150
