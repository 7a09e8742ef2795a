"""What is measured: a mesh as `hasten up` starts it, and a model beside it that takes no time."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from cli.clients import connected
from cli.home import Home, Place
from cli.ingesting import ingest
from cli.layout import Process, plan_layout
from cli.supervisor import Child
from libs.clients.answer import AnswerClient
from libs.values import CacheControl, CacheLayer, Completed, Question
from tests.bench.passages import passages
from tests.bench.timing import OtherWayError
from tests.support.valkey import free_port

TENANT = "bench"
COLLECTION = "docstrings"
_PASSAGES = 5_000

STORED = "How do I compute the standard deviation along an axis of an array?"
# Other wordings that the decision on reuse accepts; never stored, so that they are found by
# their meaning each time. So many that
# none comes back while its last answer is still in flight for others.
_REWORDED = [
    f"{begin} {end}?"
    for begin in (
        "How can I compute",
        "How can I calculate",
        "How do we compute",
        "How do you compute",
        "How do I calculate",
        "How can we compute",
        "How would I compute",
        "How should I compute",
    )
    for end in (
        "the standard deviation along an axis of an array",
        "the standard deviation along one axis of an array",
        "the standard deviation along an axis of the array",
        "the standard deviation along an axis of arrays",
        "a standard deviation along an axis of an array",
    )
]
# A miss asks about the first words of a passage, and is not stored: it stays a miss.
_MISSED = "What is said about {}?"
_WORDS = 9
# A question that is asked here is answered here, whoever has set a key: nothing is paid for.
_SETTINGS = {
    "generation": {"GENERATION_ENGINE": "extractive"},
    "edge": {"EDGE_TENANT": TENANT},
}
_TRIES = 10
_KEY = "of-the-simulator"


@dataclass(frozen=True, slots=True)
class Rig:
    """A running mesh with documents and one stored answer.

    Attributes:
        home: its folder.
        place: where it is.
        children: its processes by name, in the order of starting.
        ready_s: what each took to start, alone, in seconds.
        texts: its passages.
        client: speaks to its orchestrator, whose model picks sentences.
        modelled: speaks to a second one of the same mesh, whose model is the simulator.
        simulator: URL of the simulator, where the model's API is.
        console: for progress.
    """

    home: Home
    place: Place
    children: Mapping[str, Child]
    ready_s: Mapping[str, float]
    texts: Sequence[str]
    client: AnswerClient
    modelled: AnswerClient
    simulator: str
    console: Console
    _wordings: Iterator[str]
    _missed: Iterator[str]

    def pid(self, name: str) -> int:
        """Return the process id of a service."""
        found = self.children[name].pid
        assert found is not None
        return found

    async def exact(self) -> None:
        """Ask what is stored."""
        await ask(self.client, STORED, CacheLayer.EXACT)

    async def semantic(self) -> None:
        """Ask what is stored in other words."""
        await ask(self.client, next(self._wordings), CacheLayer.SEMANTIC, CacheControl.NO_STORE)

    async def miss(self) -> None:
        """Ask what is not stored."""
        await ask(self.client, self.unasked(), CacheLayer.NONE, CacheControl.NO_STORE)

    def unasked(self) -> str:
        """Return a question about the documents that has not been asked for long."""
        return next(self._missed)


async def ask(
    client: AnswerClient,
    text: str,
    layer: CacheLayer,
    control: CacheControl = CacheControl.DEFAULT,
) -> None:
    """Ask a question, and read its whole answer.

    Raises:
        OtherWayError: it was not answered from that layer of the cache.
    """
    question = Question(TENANT, text, collection=COLLECTION, cache_control=control)
    completed: Completed | None = None
    async with client.ask(question, limit_s=20) as events:
        async for numbered in events:
            if isinstance(numbered.event, Completed):
                completed = numbered.event
    hit = completed.cache_hit if completed else None
    got = CacheLayer.NONE if hit is None else hit.layer
    if got is not layer:
        msg = f"{text!r} was answered from {got.name}, not from {layer.name}"
        raise OtherWayError(msg)


@asynccontextmanager
async def open_rig(console: Console) -> AsyncIterator[Rig]:
    """Run all of it until the block is left.

    Raises:
        StartError: a process did not become ready.
    """
    home = Home(Path(os.environ.get("HASTEN_BENCH_HOME", ".hasten/bench")))
    layout = plan_layout(home)
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(_simulated())
        own = [_with(each, _SETTINGS.get(each.name, {})) for each in layout.processes]
        processes = [*own, *_modelled(own, home, simulator)]
        children = {each.name: Child(each, home, console.print) for each in processes}
        ready_s = {name: await _begun(child, stack) for name, child in children.items()}
        addresses = {each.name: each.address for each in processes}
        place = replace(layout.place, addresses=addresses | dict(layout.place.addresses))
        documents = passages(_PASSAGES)
        await ingest(place, TENANT, COLLECTION, documents, console)
        client = AnswerClient(await stack.enter_async_context(connected(place, "orchestrator")))
        second = await stack.enter_async_context(connected(place, "orchestrator-model"))
        texts = [document.text for document in documents]
        await _store(client)
        yield Rig(
            *(home, place, children, ready_s, texts, client, AnswerClient(second), simulator),
            console,
            itertools.cycle(_REWORDED),
            (about(texts[7 * number % len(texts)]) for number in itertools.count()),
        )


def about(text: str) -> str:
    """Return a question about a passage."""
    return _MISSED.format(" ".join(text.split()[:_WORDS]))


def _with(process: Process, settings: Mapping[str, str]) -> Process:
    return replace(process, env={**process.env, **settings})


def _modelled(own: Sequence[Process], home: Home, simulator: str) -> list[Process]:
    """Return a second generation and orchestrator, that ask the simulator, beside the first."""
    by_name = {each.name: each for each in own}
    at = {name: f"127.0.0.1:{free_port()}" for name in ("generation", "orchestrator")}
    settings = {
        "generation": {
            "GENERATION_ADDRESS": at["generation"],
            "GENERATION_ENGINE": "anthropic",
            "GENERATION_ANTHROPIC_API_KEY": _KEY,
            "GENERATION_ANTHROPIC_BASE_URL": simulator,
        },
        "orchestrator": {
            "ORCHESTRATOR_ADDRESS": at["orchestrator"],
            "ORCHESTRATOR_GENERATION_TARGET": at["generation"],
            "ORCHESTRATOR_SKETCHES_FILE": str(home.data("orchestrator") / "latencies-model"),
        },
    }
    return [
        replace(_with(by_name[name], settings[name]), name=f"{name}-model", address=address)
        for name, address in at.items()
    ]


async def _begun(child: Child, stack: AsyncExitStack) -> float:
    """Start a process, and return how many seconds it took to be ready."""
    started_s = time.monotonic()
    await child.start()
    stack.push_async_callback(child.stop)
    await child.ready()
    return time.monotonic() - started_s


@asynccontextmanager
async def _simulated() -> AsyncIterator[str]:
    """Run a model that answers at once, and yield its URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.provider"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def _store(client: AnswerClient) -> None:
    """Have the question answered and stored, so that the other ways find it.

    Raises:
        OtherWayError: nothing but answers that lack something, which are soon forgotten.
    """
    question = Question(TENANT, STORED, collection=COLLECTION, cache_control=CacheControl.REFRESH)
    for _ in range(_TRIES):
        async with client.ask(question, limit_s=20) as events:
            last = [each.event async for each in events][-1]
        await asyncio.sleep(1)
        if isinstance(last, Completed) and not last.degradations:
            return
    raise OtherWayError(f"{STORED!r} cannot be answered whole: {last}")
