"""What one question costs: in the engine, through the service, and in the usual library."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, redirect_stdout
from pathlib import Path

from libs.clients import Connection
from libs.clients.embedding import EmbeddingClient
from services.embedding.build.__main__ import main as build
from services.embedding.config import EmbeddingConfig
from services.embedding.engine import open_engine
from services.embedding.manifest import SOURCE
from tests.support.embedding_process import running

QUESTION = "how many people have ever walked on the moon"
_WARM_UP, _ROUNDS, _PER_ROUND = 20, 20, 10

Way = Callable[[], Awaitable[object]]


def embedding_ratio() -> dict[str, float | None]:
    """Measure one short question in every way, in turns, so that noise meets all alike.

    Returns:
        Medians in ms by way, `ready_s` from the service's start to SERVING, and ratios to
        sentence-transformers: of the default engine in process, as that library is, and of
        the service over loopback, which adds a hop. None for what is not installed.
    """
    folder = Path(os.environ.get("HASTEN_MODEL_DIR", ".hasten/model"))
    with (
        running(folder, EMBEDDING_PRECISION="fp32") as service,
        running(folder, EMBEDDING_PRECISION="int8") as service_int8,
    ):
        addresses = {"service_fp32_ms": service.address, "service_ms": service_int8.address}
        found = asyncio.run(_medians_ms(folder, addresses))
    usual = found.get("sentence_transformers_ms")
    return {
        **found,
        "sentence_transformers_ms": usual,
        "engine_over_library": None if usual is None else found["engine_ms"] / usual,
        "service_over_library": None if usual is None else found["service_ms"] / usual,
        "service_fp32_over_library": None if usual is None else found["service_fp32_ms"] / usual,
        "ready_s": service.ready_s,
    }


async def _medians_ms(folder: Path, addresses: Mapping[str, str]) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        ways = {"engine_ms": _engine(folder)}
        for name, address in addresses.items():
            ways[name] = _service(await stack.enter_async_context(Connection.open(address)))
        if importlib.util.find_spec("sentence_transformers"):
            ways["sentence_transformers_ms"] = _sentence_transformers()
        for way in ways.values():
            await _times_ms(way, _WARM_UP)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(_ROUNDS):
            for name, way in ways.items():
                times[name] += await _times_ms(way, _PER_ROUND)
    return {name: statistics.median(found) for name, found in times.items()}


async def _times_ms(way: Way, count: int) -> list[float]:
    found = []
    for _ in range(count):
        started_s = time.perf_counter()
        await way()
        found.append((time.perf_counter() - started_s) * 1e3)
    return found


def _engine(folder: Path) -> Way:
    engine = open_engine(EmbeddingConfig(model_dir=folder))

    async def embed() -> object:
        return engine.embed([QUESTION])

    return embed


def _service(connection: Connection) -> Way:
    client = EmbeddingClient(connection)

    async def embed() -> object:
        return await client.embed([QUESTION])

    return embed


def _sentence_transformers() -> Way:
    """Return the library's own call, on the same weights, with its own defaults."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - may be missing

    with tempfile.TemporaryDirectory() as folder:
        # What it says goes where progress goes: `--json` is one object and nothing else.
        with redirect_stdout(sys.stderr):
            is_broken = build(["--out", folder, "--with-source"])
        if is_broken:
            raise RuntimeError("the published files could not be had")
        model = SentenceTransformer(str(Path(folder) / SOURCE), device="cpu")

    async def embed() -> object:
        return model.encode(QUESTION, normalize_embeddings=True, show_progress_bar=False)

    return embed
