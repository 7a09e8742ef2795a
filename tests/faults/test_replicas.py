"""A mesh with two caches, as processes: `ORCHESTRATOR_CACHE_TARGET=ipv4:a:p,b:p`."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from libs.clients.answer import AnswerClient
from libs.values import AnswerState
from tests.support.corpus import FACTS
from tests.support.mesh import ask
from tests.support.replicas import Replicas, running_replicas
from tests.support.waiting import until

NOTICED_WITHIN_S = 3.0
IN_A_ROW = 10
FACT = FACTS[0]

pytestmark = pytest.mark.prove


@pytest.fixture
async def two_caches(
    tmp_path: Path, model_dir: Path, no_blocking: BlockBuster
) -> AsyncIterator[Replicas]:
    """A mesh whose orchestrator knows two caches, and which have the answer to a question."""
    running = running_replicas(tmp_path, model_dir, no_blocking, twice=("cache",))
    async with running as replicas, replicas.answers() as client:
        await until(lambda: hits(client))
        yield replicas


async def hits(client: AnswerClient) -> bool:
    """Return whether a few answers in a row, and so both caches, are hits; all are whole."""
    for _ in range(IN_A_ROW):
        told = await ask(client, FACT.question)
        assert told.completed.answer_state is AnswerState.COMPLETE
        if told.layer != "EXACT":
            return False
    return True


async def test_a_frozen_cache_of_two_is_missed_for_a_moment_only(two_caches: Replicas) -> None:
    two_caches.signal("cache", signal.SIGSTOP)
    try:
        await only_hits_soon(two_caches, "frozen")
    finally:
        two_caches.signal("cache", signal.SIGCONT)


async def test_a_killed_cache_of_two_is_missed_for_a_moment_only(two_caches: Replicas) -> None:
    two_caches.signal("cache", signal.SIGKILL)
    await only_hits_soon(two_caches, "killed")


async def only_hits_soon(replicas: Replicas, fault: str) -> None:
    began_s = time.monotonic()
    async with replicas.answers() as client:
        await until(lambda: hits(client), within_s=NOTICED_WITHIN_S)
    print(f"replicas: one cache of two {fault}: only hits {time.monotonic() - began_s:.2f} s later")
