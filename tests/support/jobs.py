"""What runs a kind of job in a test: its clients over real services, and who is told."""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockbuster import BlockBuster

from libs.clients.answer import AnswerClient
from libs.clients.embedding import EmbeddingClient
from libs.clients.generation import GenerationClient
from libs.clients.retrieval import RetrievalClient
from libs.values.retrieval import Document
from services.embedding.__main__ import build as build_embedding
from services.embedding.config import EmbeddingConfig
from services.generation.__main__ import build as build_generation
from services.generation.config import GenerationConfig
from services.jobs.kinds import KINDS, Clients, Task
from services.retrieval.__main__ import build as build_retrieval
from services.retrieval.config import RetrievalConfig
from tests.support.blocking import blocking
from tests.support.corpus import TENANT
from tests.support.mesh import Mesh, Setting

TASK = Task(TENANT, "job-1", 1)


class CrashError(Exception):
    """What a test has happen to a worker."""


@dataclass
class Told:
    """Who is told of a job: what outlives its attempts.

    Attributes:
        items: what was delivered.
        steps: how far it was said to be: done and total, in order.
        stages: the stages in order.
        crash_after: items after which the attempt breaks off; None never.
    """

    items: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    steps: list[tuple[int, int]] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    crash_after: int | None = None

    async def progress(self, done: int, total: int, stage: str, message: str = "") -> None:
        assert 0 <= done <= total
        self.steps.append((done, total))
        self.stages.append(stage)

    async def item(self, key: str, value: Mapping[str, Any]) -> None:
        if len(self.items) == self.crash_after:
            raise CrashError
        assert key not in self.items, f"{key} was made twice"
        self.items[key] = json.loads(json.dumps(value))


class Staff(Mesh):
    """The services that jobs call, without those of a question: no cache, no orchestrator."""

    async def open(self) -> None:
        setting = self._setting
        await self._add("embedding", EmbeddingConfig, build_embedding, model_dir=setting.model_dir)
        target = self.rooms["embedding"].address
        folder = setting.home / "retrieval"
        await self._add(
            "retrieval", RetrievalConfig, build_retrieval, data_dir=folder, embedding_target=target
        )
        await self._add("generation", GenerationConfig, build_generation, **self._generation())
        # Opened by nobody: a client that is not called.
        self.connections["orchestrator"] = self.connections["generation"]

    @property
    def clients(self) -> Clients:
        return clients_of(self)

    async def store(self, *documents: Document, collection: str = "default") -> None:
        """Store documents, in a collection that is made for it."""
        await self.retrieval.create_collection(TENANT, collection)
        if documents:
            await self.retrieval.upsert(TENANT, collection, documents)


def clients_of(mesh: Mesh) -> Clients:
    """Return the clients of a mesh."""
    return Clients(
        AnswerClient(mesh.connections["orchestrator"]),
        RetrievalClient(mesh.connections["retrieval"]),
        GenerationClient(mesh.connections["generation"]),
        EmbeddingClient(mesh.connections["embedding"]),
    )


@asynccontextmanager
async def open_staff(
    model_dir: Path, home: Path, guard: BlockBuster, provider_url: str = ""
) -> AsyncIterator[Staff]:
    """Run the services that jobs call until the block is left."""
    staff = Staff(Setting("", model_dir, home, provider_url=provider_url), guard)
    try:
        await staff.open()
        gc.collect()
        gc.freeze()
        yield staff
    finally:
        gc.unfreeze()
        with blocking(guard):
            await staff.close()


async def attempt(
    clients: Clients, kind: str, told: Told | None = None, task: Task = TASK, **given: Any
) -> tuple[dict[str, Any], Told]:
    """Make one attempt at a job, and return its result and who was told."""
    told = told or Told()
    read = KINDS[kind].input.model_validate_json(json.dumps(given))
    result = await KINDS[kind].run(task, read, told, clients)
    return json.loads(json.dumps(result)), told
