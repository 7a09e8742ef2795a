"""A mesh of processes as it is deployed, with as many of each service as a test wants."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from blockbuster import BlockBuster

from cli.home import Home
from cli.layout import Layout, Process, plan_layout
from cli.supervisor import Child
from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.clients.retrieval import RetrievalClient
from libs.clients.traces import TracesClient
from tests.support.blocking import blocking
from tests.support.corpus import FACTS, TENANT

# Those of which there are two where there are two of each.
REPLICATED = ("embedding", "retrieval", "cache", "generation", "orchestrator")


@dataclass
class Replicas:
    """Processes by name: `cache`, and `cache-2` where there are two.

    Attributes:
        children: the processes.
        token: opens them.
        told: what was said of their falls.
    """

    children: Mapping[str, Child]
    token: str
    told: list[str] = field(default_factory=list)

    def target(self, service: str) -> str:
        """Return the address of all replicas of a service."""
        names = [name for name in self.children if name.partition("-")[0] == service]
        addresses = [self.children[name].process.address for name in names]
        return "ipv4:" + ",".join(addresses)

    def signal(self, name: str, sig: signal.Signals) -> None:
        """Send a signal to a process."""
        pid = self.children[name].pid
        assert pid is not None
        os.kill(pid, sig)

    async def ended(self, name: str) -> str:
        """Wait until a process has ended, and return how, in the words of its keeper."""
        while True:
            for said in self.told:
                if said.startswith(f"{name} ended"):
                    self.told.remove(said)
                    return said
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def connected(self, service: str) -> AsyncIterator[Connection]:
        """Connect to all replicas of a service."""
        async with Connection.open(self.target(service), token=self.token) as connection:
            yield connection

    @asynccontextmanager
    async def answers(self) -> AsyncIterator[AnswerClient]:
        async with self.connected("orchestrator") as connection:
            yield AnswerClient(connection)

    @asynccontextmanager
    async def traces(self) -> AsyncIterator[TracesClient]:
        async with self.connected("traces") as connection:
            yield TracesClient(connection)

    async def ingest(self) -> None:
        """Store the small library in each replica of retrieval."""
        for name, child in self.children.items():
            if not name.startswith("retrieval"):
                continue
            address = child.process.address
            async with Connection.open(address, token=self.token) as connection:
                client = RetrievalClient(connection)
                await client.create_collection(TENANT, "default")
                await client.upsert(TENANT, "default", [fact.document for fact in FACTS])


@asynccontextmanager
async def running_replicas(
    home: Path,
    model_dir: Path,
    guard: BlockBuster,
    *,
    twice: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Replicas]:
    """Run a mesh of processes that knows the small library until the block is left.

    The event loop may be blocked meanwhile: in this process there are only clients, and
    what keeps the others running.
    """
    with blocking(guard):
        place = Home(home)
        place.model = model_dir.absolute()  # noqa: ASYNC240 - nobody is served here
        layout = plan_layout(place)
        told: list[str] = []
        children = {
            process.name: Child(process, place, told.append)
            for process in _doubled(layout, twice, env or {})
        }
        replicas = Replicas(children, layout.place.token, told)
        keeping: list[asyncio.Task[None]] = []
        try:
            for child in children.values():
                await child.start()
            await asyncio.gather(*(child.ready() for child in children.values()))
            keeping += [asyncio.create_task(child.keep()) for child in children.values()]
            await replicas.ingest()
            yield replicas
        finally:
            for child in reversed(list(children.values())):
                await child.stop()
            for task in keeping:
                task.cancel()


def _doubled(layout: Layout, twice: Sequence[str], env: Mapping[str, str]) -> Iterator[Process]:
    """Yield the processes of a layout that are spoken to, some of them twice."""
    seconds = {name: f"127.0.0.1:{_free_port()}" for name in twice}
    targets = {
        f"{process.address}": f"ipv4:{process.address},{seconds[process.name]}"
        for process in layout.processes
        if process.name in seconds
    }
    for process in layout.processes:
        if process.name == "edge":
            # Nobody speaks HTTP here.
            continue
        told = {
            key: targets.get(value, value) if key.endswith("_TARGET") else value
            for key, value in process.env.items()
        } | dict(env)
        first = replace(process, env=told)
        yield first
        if process.name in seconds:
            yield _second(first, seconds[process.name])


def _second(first: Process, address: str) -> Process:
    prefix = first.name.upper()
    env = dict(first.env) | {f"{prefix}_ADDRESS": address}
    data = f"{prefix}_DATA_DIR"
    if data in env:
        env[data] += "-2"
    return replace(first, name=f"{first.name}-2", env=env, address=address)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
