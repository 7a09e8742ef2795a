"""What runs a kind of job in a test: its clients over real services, and who is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockbuster import BlockBuster

from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.clients.embedding import EmbeddingClient
from libs.clients.generation import GenerationClient
from libs.clients.retrieval import RetrievalClient
from libs.values.retrieval import Document
from services.generation.__main__ import build as build_generation
from services.generation.config import GenerationConfig
from services.jobs.kinds import KINDS, Clients, Task
from services.retrieval.__main__ import build as build_retrieval
from services.retrieval.config import RetrievalConfig
from tests.support.blocking import blocking
from tests.support.corpus import TENANT
from tests.support.mesh import Mesh, Setting
from tests.support.provider import Provider
from tests.support.provider.writing import search_results

TASK = Task(TENANT, "job-1", 1)
Says = Callable[["Asked"], Any]


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


@dataclass(frozen=True)
class Asked:
    """What a model was asked.

    Attributes:
        question: the last message.
        system: the instructions.
        texts: the texts that it was given, by their titles.
        form: the fields of the object that it is to write; empty for plain text.
        turn_count: messages of the conversation before, the texts aside.
    """

    question: str
    system: str
    texts: Mapping[str, str]
    form: frozenset[str]
    turn_count: int

    @classmethod
    def of(cls, request: Any) -> Asked:
        found = search_results(request)
        texts = {each["title"]: "".join(part["text"] for part in each["content"]) for each in found}
        schema = request.get("output_config", {}).get("format", {}).get("schema", {})
        turns = [each for each in request["messages"] if isinstance(each["content"], str)]
        system = "".join(part["text"] for part in request.get("system", ()))
        last = request["messages"][-1]["content"]
        question = last if isinstance(last, str) else "".join(each.get("text", "") for each in last)
        return cls(question, system, texts, frozenset(schema.get("properties", ())), len(turns) - 1)


def saying(provider: Provider, says: Says) -> list[Asked]:
    """Have a provider say what a function makes of each request; return all that is asked."""
    asked: list[Asked] = []

    def said(request: Any) -> str | None:
        asked.append(Asked.of(request))
        value = says(asked[-1])
        return value if value is None or isinstance(value, str) else json.dumps(value)

    provider.says = said
    return asked


class Staff(Mesh):
    """The services that jobs call, without those of a question: no cache, no orchestrator.

    Attributes:
        encoder: address of an embedding service; empty leaves out the documents as well.
    """

    encoder = ""

    async def open(self) -> None:
        if self.encoder:
            await self._open_library()
        await self._add("generation", GenerationConfig, build_generation, **self._generation())
        # What nobody opens has a client that is not called.
        for name in ("orchestrator", "retrieval", "embedding"):
            self.connections.setdefault(name, self.connections["generation"])

    async def _open_library(self) -> None:
        folder = self._setting.home / "retrieval"
        settings = {"data_dir": folder, "embedding_target": self.encoder}
        await self._add("retrieval", RetrievalConfig, build_retrieval, **settings)
        opened = Connection.open(self.encoder)
        self.connections["embedding"] = await self._stack.enter_async_context(opened)

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
    home: Path, guard: BlockBuster, *, encoder: str = "", provider_url: str = ""
) -> AsyncIterator[Staff]:
    """Run the services that jobs call until the block is left.

    Args:
        home: an empty folder.
        guard: what notices blocking calls.
        encoder: address of an embedding service; empty leaves out the documents as well.
        provider_url: a model provider; empty has the extractive engine alone.
    """
    staff = Staff(Setting("", home, home, provider_url=provider_url), guard)
    staff.encoder = encoder
    try:
        await staff.open()
        yield staff
    finally:
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
