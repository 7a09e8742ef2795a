"""How long each way to an answer takes through a real mesh, against a bare echo."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from rich.console import Console

from cli.clients import connected
from cli.home import Home
from cli.ingesting import ingest
from cli.layout import plan_layout
from cli.supervisor import running
from libs.clients.answer import AnswerClient
from libs.values import CacheControl, CacheLayer, Completed, Question
from tests.bench.bare import two_hops
from tests.bench.echo import echoing
from tests.bench.passages import passages

_TENANT = "bench"
_COLLECTION = "docstrings"
_PASSAGES = 5_000
_ROUNDS = 20
_PER_ROUND = 15
_WARM_UP = 20

_STORED = "How do I compute the standard deviation along an axis of an array?"
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

Way = Callable[[], Awaitable[object]]
Send = Callable[[bytes], Awaitable[bytes]]


async def measure(console: Console) -> dict[str, float]:
    """Return medians in ms by way, taken in turns, and their ratios to the echo."""
    home = Home(Path(os.environ.get("HASTEN_BENCH_HOME", ".hasten/bench")))
    layout = plan_layout(home)
    async with (
        running(layout, home, console.print) as mesh,
        echoing() as echo,
        two_hops(mesh.place.addresses["redis"]) as bare,
    ):
        documents = passages(_PASSAGES)
        await ingest(mesh.place, _TENANT, _COLLECTION, documents, console)
        async with connected(mesh.place, "orchestrator") as connection:
            client = AnswerClient(connection)
            await _store(client)
            ways = _ways(client, echo, bare, [document.text for document in documents])
            found = await _in_turns(ways)
    echo_ms = found["echo_ms"]
    return {
        **found,
        "bare_two_hops_over_echo": found["bare_two_hops_ms"] / echo_ms,
        "exact_over_echo": found["exact_ms"] / echo_ms,
    }


async def _store(client: AnswerClient) -> None:
    """Have the question answered and stored, so that the other ways find it."""
    question = Question(_TENANT, _STORED, collection=_COLLECTION)
    async with client.ask(question, limit_s=20) as events:
        assert [event async for event in events]
    await asyncio.sleep(1)


def _ways(client: AnswerClient, echo: Send, two_hops: Send, texts: Sequence[str]) -> dict[str, Way]:
    numbers, wordings = itertools.count(), itertools.count()

    async def bare() -> None:
        await echo(b"x" * 256)

    async def bare_two_hops() -> None:
        await two_hops(b"x" * 256)

    async def exact() -> None:
        await _ask(client, _STORED, CacheLayer.EXACT)

    async def semantic() -> None:
        text = _REWORDED[next(wordings) % len(_REWORDED)]
        await _ask(client, text, CacheLayer.SEMANTIC, CacheControl.NO_STORE)

    async def miss() -> None:
        words = texts[7 * next(numbers) % len(texts)].split()[:_WORDS]
        text = _MISSED.format(" ".join(words))
        await _ask(client, text, CacheLayer.NONE, CacheControl.NO_STORE)

    return {
        "echo_ms": bare,
        "bare_two_hops_ms": bare_two_hops,
        "exact_ms": exact,
        "semantic_ms": semantic,
        "miss_ms": miss,
    }


async def _ask(
    client: AnswerClient,
    text: str,
    layer: CacheLayer,
    control: CacheControl = CacheControl.DEFAULT,
) -> None:
    question = Question(_TENANT, text, collection=_COLLECTION, cache_control=control)
    completed: Completed | None = None
    async with client.ask(question, limit_s=20) as events:
        async for numbered in events:
            if isinstance(numbered.event, Completed):
                completed = numbered.event
    hit = completed.cache_hit if completed else None
    got = CacheLayer.NONE if hit is None else hit.layer
    if got is not layer:
        msg = f"{text!r} was answered from {got.name}, not from {layer.name}"
        raise ValueError(msg)


async def _in_turns(ways: dict[str, Way]) -> dict[str, float]:
    took: dict[str, list[float]] = {name: [] for name in ways}
    for name, way in ways.items():
        for _ in range(_WARM_UP):
            await way()
        took[name].clear()
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            for _ in range(_PER_ROUND):
                started_s = time.perf_counter()
                await way()
                took[name].append((time.perf_counter() - started_s) * 1e3)
    return {name: statistics.median(each) for name, each in took.items()}
