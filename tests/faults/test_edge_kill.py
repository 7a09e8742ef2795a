"""Hundreds of runs are read over bad lines while edges and orchestrators are killed."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from blockbuster import BlockBuster

from tests.support.blocking import blocking
from tests.support.corpus import FACTS, TENANT
from tests.support.edge_process import EdgeProcess, edge_process
from tests.support.faults.proxy import Proxy
from tests.support.replicas import Replicas, running_replicas
from tests.support.resuming import EndedBadlyError, ResumingReader

RUNS = 300
BEGUN_WITHIN_S = 6.0
# Twelve seconds of text each.
WORDS, GAP_S = 40, 0.3
DROP_RATE = 0.02
LIMIT_S = 90.0

pytestmark = [pytest.mark.prove, pytest.mark.timeout(300)]


@dataclass
class Town:
    """Two edges behind bad lines, and the mesh behind them."""

    replicas: Replicas
    edges: list[EdgeProcess]
    proxies: list[Proxy]
    clients: list[httpx.AsyncClient]


@asynccontextmanager
async def provider() -> AsyncIterator[str]:
    """A slow model in a process of its own."""
    command = [sys.executable, "-m", "tests.support.provider"]
    command += ["--words", str(WORDS), "--gap", str(GAP_S), "--first-text", "0.2"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
async def town(tmp_path: Path, model_dir: Path, no_blocking: BlockBuster) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        stack.enter_context(blocking(no_blocking))
        enter = stack.enter_async_context
        env = {
            "GENERATION_ENGINE": "anthropic",
            "GENERATION_ANTHROPIC_API_KEY": "a-key",
            "GENERATION_ANTHROPIC_BASE_URL": await enter(provider()),
            "GENERATION_MAX_CONCURRENCY": "1000",
            "ORCHESTRATOR_MAX_CONCURRENCY": "1000",
        }
        replicas = await enter(
            running_replicas(tmp_path, model_dir, no_blocking, twice=["orchestrator"], env=env)
        )
        target = replicas.target("orchestrator")
        settings = {"HASTEN_TOKEN": replicas.token, "EDGE_TENANT": TENANT}
        settings["EDGE_MAX_CONCURRENCY"] = "1000"
        edges = [await enter(edge_process(target, **settings)) for _ in range(2)]
        proxies = [
            await enter(Proxy(f"127.0.0.1:{edge.port}", seed=number).serve())
            for number, edge in enumerate(edges)
        ]
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        clients = [
            await enter(
                httpx.AsyncClient(
                    base_url=f"http://{each.address}", trust_env=False, timeout=30, limits=limits
                )
            )
            for each in proxies
        ]
        for client in clients:  # so that nothing is the first of its kind
            (await client.post("/v1/answers", json=question(0))).raise_for_status()
        yield Town(replicas, edges, proxies, clients)


def question(number: int) -> dict[str, Any]:
    fact = FACTS[number % len(FACTS)]
    # Each a run of its own: neither shared nor stored.
    return {
        "question": fact.question,
        "policy": "patient",
        "cache_control": "bypass",
        "resumable": True,
    }


async def read_all(town: Town, count: int, *, resumes: bool) -> list[ResumingReader | Exception]:
    """Read so many runs, and cut lines and kill processes meanwhile."""
    chance = random.Random(1)  # noqa: S311 - reproducible, not secret

    async def read(number: int) -> ResumingReader:
        await asyncio.sleep(BEGUN_WITHIN_S * number / count)
        return await readers[number].read()

    orders = [town.clients, town.clients[::-1]]
    readers = [
        ResumingReader(chance.choice(orders), question(number), resumes) for number in range(count)
    ]
    reading = [asyncio.create_task(read(number)) for number in range(count)]
    await asyncio.sleep(BEGUN_WITHIN_S)
    for proxy in town.proxies:
        proxy.behave(drop_rate=DROP_RATE)
    await asyncio.sleep(1.5)
    town.edges[0].process.kill()
    await asyncio.sleep(1.5)
    town.replicas.signal("orchestrator", signal.SIGKILL)
    await asyncio.wait(reading, timeout=LIMIT_S)
    waiting = [
        (reader.run_id, reader.cuts, reader.frames[-1:])
        for reader, task in zip(readers, reading, strict=True)
        if not task.done()
    ]
    assert not waiting, waiting
    done = await asyncio.gather(*reading, return_exceptions=True)
    for proxy in town.proxies:
        proxy.behave(drop_rate=0.0)
    return [each for each in done if isinstance(each, ResumingReader | Exception)]


async def text_of_run(town: Town, run_id: str) -> str:
    """The text of a run, as the edge that was left has it."""
    response = await town.clients[1].get(f"/v1/runs/{run_id}")
    return str(response.raise_for_status().json()["answer"])


async def test_300_readers_have_exactly_the_text_of_their_run(town: Town) -> None:
    done = await read_all(town, RUNS, resumes=True)
    lost = [each for each in done if isinstance(each, Exception)]
    readers = [each for each in done if isinstance(each, ResumingReader)]
    ends = Counter(each.last["finish_reason"] for each in readers)
    withdrawn = sum(any(name == "revised" for _, name, _ in each.frames) for each in readers)
    cuts = sum(each.cuts for each in readers)
    print(f"edge: {RUNS} runs, {cuts} cuts, ends {dict(ends)}, {withdrawn} revised, lost {lost}")
    # A run may be lost that had begun less than a breath before its orchestrator was killed.
    assert all(isinstance(each, EndedBadlyError) for each in lost)
    assert not lost
    for reader in readers:
        assert reader.text == await text_of_run(town, reader.run_id)
        numbers = reader.numbers_since_revised
        assert all(one < later for one, later in pairwise(numbers))
    assert cuts >= RUNS / 3
    assert min(ends["end_turn"], ends["interrupted"]) >= RUNS / 10


async def test_readers_that_know_no_numbers_have_more_than_the_text(town: Town) -> None:
    done = await read_all(town, 40, resumes=False)
    readers = [each for each in done if isinstance(each, ResumingReader)]
    wrong = [each for each in readers if each.text != await text_of_run(town, each.run_id)]
    print(f"edge: without numbers {len(wrong)} of {len(readers)} texts are wrong")
    assert wrong
