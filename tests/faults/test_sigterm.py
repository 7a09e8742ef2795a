"""Any process of a mesh may be told to end while questions come in: none of them fails."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from libs.clients.answer import AnswerClient
from libs.errors import MeshError
from libs.values import CacheControl, Completed, Question
from tests.support.corpus import TENANT, other
from tests.support.mesh import ask
from tests.support.replicas import REPLICATED, Replicas, running_replicas

ASKERS = 6
PAUSE_S = 0.02
LIMIT_S = 20.0


@dataclass
class Load:
    """Questions that go on coming, and what became of them.

    Attributes:
        completed: the ends of the answers.
        failed: errors in place of an end.
    """

    completed: list[Completed] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def ask(self, client: AnswerClient) -> None:
        """Ask until cancelled."""
        while True:
            # Half of them are written anew, half may come from the cache.
            number = next(self.numbers)
            control = CacheControl.BYPASS if number % 2 else CacheControl.DEFAULT
            question = Question(TENANT, other(number % 40), cache_control=control)
            began_s = time.monotonic()
            try:
                self.completed.append((await ask(client, question, limit_s=LIMIT_S)).completed)
            except MeshError as error:
                self.failed.append(f"{error.reason}: {error}")
            self.took_s.append(time.monotonic() - began_s)
            await asyncio.sleep(PAUSE_S)

    def short_of(self) -> Counter[str]:
        """Return what answers did without, and how often."""
        return Counter(
            f"{lost.hop}:{lost.reason}" for each in self.completed for lost in each.degradations
        )

    def summary(self) -> str:
        return (
            f"{len(self.completed)} answers, {len(self.failed)} failed, {len(self.refused())}"
            f" refused, slowest {max(self.took_s):.2f} s, without {dict(self.short_of())}"
        )

    def refused(self) -> list[Completed]:
        return [each for each in self.completed if each.finish_reason.name != "END_TURN"]


async def end_each(replicas: Replicas, names: list[str], load: Load) -> None:
    """Tell processes to end, one after the other, while questions come in."""
    async with replicas.answers() as client:
        asking = [asyncio.create_task(load.ask(client)) for _ in range(ASKERS)]
        await asyncio.sleep(1.0)
        for name in names:
            replicas.signal(name, signal.SIGTERM)
            async with asyncio.timeout(30):
                assert await replicas.ended(name) == f"{name} ended with status 0, starts again"
                await asyncio.sleep(0.5)
                await replicas.children[name].ready()
            await asyncio.sleep(1.0)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


def check(load: Load) -> None:
    assert load.failed == []
    assert load.refused() == []


async def test_no_question_fails_while_an_orchestrator_is_told_to_end(
    tmp_path: Path, model_dir: Path, no_blocking: BlockBuster
) -> None:
    load = Load()
    running = running_replicas(tmp_path, model_dir, no_blocking, twice=("orchestrator",))
    async with running as replicas:
        await end_each(replicas, ["orchestrator"], load)
    check(load)


@pytest.mark.prove
async def test_no_question_fails_while_any_service_is_told_to_end(
    tmp_path: Path, model_dir: Path, no_blocking: BlockBuster
) -> None:
    loads = {service: Load() for service in REPLICATED}
    running = running_replicas(tmp_path, model_dir, no_blocking, twice=REPLICATED)
    async with running as replicas:
        for service, load in loads.items():
            await end_each(replicas, [service, f"{service}-2"], load)
            print(f"sigterm: {service}, two of them, one after the other: {load.summary()}")
    for load in loads.values():
        check(load)
