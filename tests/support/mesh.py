"""The whole mesh in this process: every service built as its process builds it, on free ports."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster
from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from pydantic import SecretStr

from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.clients.cache import CacheClient
from libs.clients.jobs import JobsClient
from libs.clients.retrieval import RetrievalClient
from libs.config import ServiceConfig
from libs.resilience import open_admission
from libs.server import Guard, Identities, Identity, Served
from libs.server.bootstrap import OPTIONS
from libs.values import SHOWN, AnswerEvent, Completed, Question
from libs.values.answer_json import WholeAnswer
from services.cache.__main__ import build as build_cache
from services.cache.config import CacheConfig
from services.embedding import __main__ as embedding_process
from services.embedding.__main__ import build as build_embedding
from services.embedding.config import EmbeddingConfig
from services.embedding.engine import open_engine, open_scorers
from services.generation.__main__ import build as build_generation
from services.generation.config import GenerationConfig
from services.jobs.__main__ import build as build_jobs
from services.jobs.config import JobsConfig
from services.jobs.worker.__main__ import build as build_worker
from services.jobs.worker.config import WorkerConfig
from services.orchestrator.__main__ import build as build_orchestrator
from services.orchestrator.config import OrchestratorConfig
from services.retrieval.__main__ import build as build_retrieval
from services.retrieval.config import RetrievalConfig
from tests.support.blocking import blocking
from tests.support.corpus import FACTS, TENANT

# They open nothing but the mesh of a test.
MESH_TOKEN = "of-the-mesh"  # noqa: S105
TENANTS_TOKEN = "of-one-tenant"  # noqa: S105
KNOWN = Identities.of(
    [
        (MESH_TOKEN, Identity("mesh", frozenset({"*"}))),
        (TENANTS_TOKEN, Identity("acme-app", frozenset({TENANT}))),
    ]
)
_MAX_CONCURRENCY = 256

# Policies of the tests: all the time in the world, so that a call that is held stays held.
POLICIES = """
[endless]
first_text_s = 60.0
end_s = 120.0
head_start_s = 60.0
lookup_limit_s = 60.0

[beside]
first_text_s = 60.0
end_s = 120.0
head_start_s = 0.0
lookup_limit_s = 60.0

[unsupported]
unsupported = true

[fresh]
accept_stale = false

[spoken]
replay_words_per_s = 100.0
head_start_s = 2.0
lookup_limit_s = 5.0

[careful]
first_text_s = 4.0
lookup_limit_s = 2.0
provenance = "collection"

[careless]
first_text_s = 4.0
lookup_limit_s = 2.0
provenance = "ttl"

[covered]
first_text_s = 4.0
lookup_limit_s = 2.0

[covered.costs]
embedding = 0.2
semantic = 0.1
lexical = 0.2
retrieval = 0.3
prompt = 0.1
extract = 0.05
model_first_text = 1.2
fast_first_text = 0.1

[brief]
first_text_s = 4.0
lookup_limit_s = 2.0

[brief.costs]
embedding = 0.2
semantic = 0.1
lexical = 0.2
retrieval = 0.3
prompt = 0.1
extract = 0.05
model_first_text = 1.2
fast_first_text = 1.2

[brief.losses]
brief = 0.0

[simulated.costs]
embedding = 0.040
retrieval = 0.075
lexical = 0.040
model_first_text = 0.190
fast_first_text = 0.090

[endless.costs]
embedding = 1.0
semantic = 1.0
lexical = 1.0
retrieval = 1.0

[beside.costs]
embedding = 1.0
semantic = 1.0
lexical = 1.0
retrieval = 1.0
"""
# A machine that is busy with something else makes no hit a miss, and costs no step.
_PATIENT_POLICY = """
[interactive]
lookup_limit_s = 5.0

[interactive.costs]
embedding = 0.2
semantic = 0.1
lexical = 0.2
retrieval = 0.3
prompt = 0.1
extract = 0.1
"""
_PATIENT_REDIS_S = 2.0
_PATIENT_FLIGHTS = {"flight_lease_s": 3.0, "flight_wait_s": 2.0}


_LOADED: dict[tuple[object, ...], Any] = {}


def _once(load: Callable[[EmbeddingConfig], Any]) -> Callable[[EmbeddingConfig], Any]:
    """Load a model once for all tests of this process.

    It does not change, and to load it takes longer than all else of opening a mesh.
    """

    def loaded(config: EmbeddingConfig) -> Any:
        precisions = (config.precision, config.scorer_precision)
        key = (load, config.model_dir, config.engine, *precisions, config.threads)
        if key not in _LOADED:
            _LOADED[key] = load(config)
        return _LOADED[key]

    return loaded


@dataclass(eq=False)
class Room:
    """One service, that can be closed and opened again where it was.

    Attributes:
        kind: its settings.
        build: makes its parts.
        settings: what is set, but for the address.
        interceptors: what calls pass behind the guard.
        outer: what they pass before it.
        identities: who may call.
        address: where it listens, once it has been open.
    """

    kind: type[ServiceConfig]
    build: Callable[[Any], AbstractAsyncContextManager[Served]]
    settings: dict[str, Any]
    interceptors: Sequence[aio.ServerInterceptor]
    outer: Sequence[aio.ServerInterceptor]
    identities: Identities
    address: str = "127.0.0.1:0"
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def open(self) -> None:
        """Serve, and return once it is warm."""
        config = self.kind(address=self.address, token=SecretStr(MESH_TOKEN), **self.settings)
        served = await self._stack.enter_async_context(self.build(config))
        server = aio.server(
            interceptors=[*self.outer, self._guard(), *self.interceptors], options=OPTIONS
        )
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        served.register(server)
        names = (served.name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        port = server.add_insecure_port(self.address)
        self.address = f"127.0.0.1:{port}"
        await server.start()
        self._stack.push_async_callback(server.stop, None)
        await served.warm()

    def _guard(self) -> Guard:
        return Guard(self.identities, admission=open_admission(_MAX_CONCURRENCY))

    async def close(self) -> None:
        """End as if the process was killed: whoever is served is cut off."""
        await self._stack.aclose()


@dataclass(frozen=True)
class Setting:
    """What a mesh is made with.

    Attributes:
        redis_url: its Redis.
        model_dir: the encoder.
        home: an empty folder.
        provider_url: a model provider; empty has the extractive engine alone.
        interceptors: what every call passes behind the guards.
        identities: who may call.
        connection: how the services call each other.
        outer: what every call passes before the guards.
        settings: more settings, by room.
        is_patient: False if a lookup is to be as hurried as it is where it is deployed.
    """

    redis_url: str
    model_dir: Path
    home: Path
    provider_url: str = ""
    interceptors: Sequence[aio.ServerInterceptor] = ()
    identities: Identities = field(default_factory=Identities.open)
    connection: type[Connection] = Connection
    outer: Sequence[aio.ServerInterceptor] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    is_patient: bool = True


class Mesh:
    """The rooms of a mesh, and clients of them."""

    def __init__(self, setting: Setting, guard: BlockBuster | None = None) -> None:
        self._setting = setting
        self._guard = guard
        self._stack = AsyncExitStack()
        self.rooms: dict[str, Room] = {}
        self.connections: dict[str, Connection] = {}

    async def open(self) -> None:
        """Open all rooms, in the order in which they call each other."""
        setting = self._setting
        await self._add("embedding", EmbeddingConfig, build_embedding, model_dir=setting.model_dir)
        await self._add(
            "retrieval",
            RetrievalConfig,
            build_retrieval,
            data_dir=setting.home / "retrieval",
            embedding_target=self.rooms["embedding"].address,
        )
        await self._add("generation", GenerationConfig, build_generation, **self._generation())
        await self._add(
            "cache",
            CacheConfig,
            build_cache,
            redis_url=setting.redis_url,
            retrieval_target=self.rooms["retrieval"].address,
            embedding_target=self.rooms["embedding"].address,
            **({"redis_timeout_s": _PATIENT_REDIS_S} if setting.is_patient else {}),
        )
        policies = POLICIES + (_PATIENT_POLICY if setting.is_patient else "")
        with blocking(self._guard):
            (setting.home / "policies.toml").write_text(policies)
        await self.add_orchestrator("orchestrator")

    async def add_orchestrator(self, name: str) -> AnswerClient:
        """Open one more orchestrator over the same rooms, and return a client of it."""
        targets = ("cache", "embedding", "retrieval", "generation")
        await self._add(
            name,
            OrchestratorConfig,
            build_orchestrator,
            redis_url=self._setting.redis_url,
            policies_file=self._setting.home / "policies.toml",
            **(_PATIENT_FLIGHTS if self._setting.is_patient else {}),
            **{f"{target}_target": self.rooms[target].address for target in targets},
        )
        return AnswerClient(self.connections[name])

    async def add_jobs(self) -> JobsClient:
        """Open the jobs service and a worker over the same rooms, and return a client."""
        redis_url = self._setting.redis_url
        await self._add("jobs", JobsConfig, build_jobs, redis_url=redis_url)
        targets = ("embedding", "retrieval", "generation", "orchestrator")
        await self._add(
            "worker",
            WorkerConfig,
            build_worker,
            redis_url=redis_url,
            grace_s=0.2,
            **{f"{target}_target": self.rooms[target].address for target in targets},
        )
        return JobsClient(self.connections["jobs"])

    async def close(self) -> None:
        """Close all rooms, who calls before who is called."""
        await self._stack.aclose()

    async def connect(self, name: str, token: str = MESH_TOKEN) -> Connection:
        """Return a connection to one of the rooms, closed with the mesh."""
        target = self.rooms[name].address
        return await self._stack.enter_async_context(Connection.open(target, token=token))

    async def _add(self, name: str, kind: Any, build: Any, **settings: Any) -> None:
        setting = self._setting
        settings |= setting.settings.get(name, {})
        room = Room(kind, build, settings, setting.interceptors, setting.outer, setting.identities)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Connection, "open", setting.connection.open)
            patch.setattr(embedding_process, "open_engine", _once(open_engine))
            patch.setattr(embedding_process, "open_scorers", _once(open_scorers))
            with blocking(self._guard):
                await room.open()
        self.rooms[name] = room
        self._stack.push_async_callback(room.close)
        self.connections[name] = await self.connect(name)

    def _generation(self) -> dict[str, Any]:
        if not self._setting.provider_url:
            return {"engine": "extractive"}
        return {
            "engine": "anthropic",
            "anthropic_api_key": "a-key",
            "anthropic_base_url": self._setting.provider_url,
        }

    async def reopen(self, name: str) -> None:
        """Open a room that was closed, where it was."""
        with blocking(self._guard):
            await self.rooms[name].open()

    @property
    def answers(self) -> AnswerClient:
        return AnswerClient(self.connections["orchestrator"])

    @property
    def cache(self) -> CacheClient:
        return CacheClient(self.connections["cache"])

    @property
    def retrieval(self) -> RetrievalClient:
        return RetrievalClient(self.connections["retrieval"])

    async def ask(self, question: str | Question, *, limit_s: float | None = 30.0) -> Told:
        """Ask the first orchestrator, and return all that it told."""
        return await ask(self.answers, question, limit_s=limit_s)

    async def ingest(self, tenant_id: str = TENANT, collection: str = "default") -> None:
        """Store the small library."""
        await self.retrieval.create_collection(tenant_id, collection)
        documents = [fact.document for fact in FACTS]
        await self.retrieval.upsert(tenant_id, collection, documents)


@dataclass(frozen=True)
class Told:
    """The events of one answer."""

    events: tuple[AnswerEvent, ...]

    @property
    def whole(self) -> WholeAnswer:
        whole = WholeAnswer()
        for each in self.events:
            whole.add(each.event)
        return whole

    @property
    def text(self) -> str:
        return self.whole.text

    @property
    def run_id(self) -> str:
        plan = self.whole.plan
        assert plan is not None
        return plan.run_id

    @property
    def completed(self) -> Completed:
        completed = self.events[-1].event
        assert isinstance(completed, Completed)
        return completed

    @property
    def layer(self) -> str:
        """The cache's layer that the answer is from; empty if it is from none."""
        hit = self.completed.cache_hit
        return "" if hit is None else hit.layer.name

    @property
    def lost(self) -> dict[str, str]:
        """What the answer did without: reason by hop."""
        return {each.hop: each.reason for each in self.completed.degradations}

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the events of one kind."""
        return [each.event for each in self.events if isinstance(each.event, kind)]


async def ask(
    client: AnswerClient, question: str | Question, *, limit_s: float | None = 30.0
) -> Told:
    """Ask, and return all that was told."""
    if isinstance(question, str):
        question = Question(TENANT, question)
    async with client.ask(question, limit_s=limit_s) as events:
        return Told(tuple([each async for each in events]))


async def until_text(events: AsyncIterator[AnswerEvent]) -> list[AnswerEvent]:
    """Read events up to the first text, and return them."""
    seen = []
    async for each in events:
        seen.append(each)
        if isinstance(each.event, SHOWN):
            break
    return seen


@asynccontextmanager
async def open_mesh(setting: Setting, guard: BlockBuster | None) -> AsyncIterator[Mesh]:
    """Run a mesh that knows the small library until the block is left.

    While it opens and closes it may block, and then garbage is not looked for in what is
    there to stay, as with a process.
    """
    mesh = Mesh(setting, guard)
    try:
        await mesh.open()
        await mesh.ingest()
        gc.collect()
        gc.freeze()
        yield mesh
    finally:
        gc.unfreeze()
        with blocking(guard):
            await mesh.close()
