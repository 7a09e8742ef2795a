"""LiteLLM's proxy over the same simulator, in an environment of its own that is kept."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from tests.bench.paths import http_exact
from tests.bench.rig import COLLECTION, STORED, Rig
from tests.bench.timing import OtherWayError, Turns, Way, medians_ms
from tests.bench.used import peak_mib
from tests.bench.web import FIRST_DELTA, Line, Reply, line_to
from tests.support.valkey import free_port

VERSION = "1.108.7"
_FOLDER = Path(".hasten/litellm")
_PATH = "/v1/chat/completions"
_MODEL = "simulated"
_NUMBER = re.compile(rb'"content": ?" (\d+)"')
_READY_WITHIN_S = 120.0
_LOOK_S = 0.05
_TURNS = Turns(rounds=12, per_round=10)
_ENV = {
    # Else it asks the network for a list of prices.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "NO_DOCS": "True",
    # Neither it nor our edge is asked who calls: both are on loopback alone.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running one; it took `ready_s` seconds to start."""

    address: str
    pid: int
    ready_s: float


async def measure_litellm(rig: Rig) -> dict[str, float]:
    """Return medians in ms of streamed chat completions, whole; empty if it does not install.

    The model is asked directly, through the proxy and through the proxy's cache, which is in
    the same Redis as hasten's; beside these stand hasten's own hits over HTTP.
    """
    program = installed(rig.console)
    if program is None:
        return {}
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(_running(program, rig))
        lines = {
            name: await stack.enter_async_context(line_to(address))
            for name, address in {
                "direct": rig.simulator,
                "proxy": proxy.address,
                "edge": rig.place.addresses["edge"],
            }.items()
        }
        found = await medians_ms(_ways(rig, **lines), _TURNS)
        peak = peak_mib(proxy.pid)
    return {
        "litellm_hit_over_hasten": found["litellm_hit_ms"] / found["chat_hit_ms"],
        **found,
        "litellm_added_ms": found["litellm_pass_ms"] - found["chat_direct_ms"],
        "ready_s_litellm": proxy.ready_s,
        "peak_mib_litellm": peak,
    }


def _ways(rig: Rig, direct: Line, proxy: Line, edge: Line) -> dict[str, Way]:
    async def pass_through() -> float:
        return (await _chat(proxy, rig.unasked())).whole_s

    async def unproxied() -> float:
        return (await _chat(direct, rig.unasked())).whole_s

    seen: list[bytes] = []

    async def hit() -> float:
        reply = await _chat(proxy, STORED, cache={"use-cache": True})
        seen.append(_number(reply.body))
        if seen[-1] not in seen[-2:-1]:
            raise OtherWayError("the model was asked again")
        return reply.whole_s

    async def chat_hit() -> float:
        asked = {"collection": COLLECTION, "cache_control": "only-if-cached"}
        return (await _chat(edge, STORED, model="hasten", hasten=asked)).whole_s

    async def answer_hit() -> None:
        await http_exact(edge)

    return {
        "chat_direct_ms": unproxied,
        "litellm_pass_ms": pass_through,
        "litellm_hit_ms": hit,
        "chat_hit_ms": chat_hit,
        "answer_hit_ms": answer_hit,
    }


async def _chat(line: Line, text: str, model: str = _MODEL, **more: object) -> Reply:
    messages = [{"role": "user", "content": text}]
    fields = {"model": model, "messages": messages, "stream": True, **more}
    return await line.post(_PATH, fields, FIRST_DELTA)


def _number(body: bytes) -> bytes:
    """Return the number of a simulated answer: no two that were written have the same."""
    found = _NUMBER.search(body)
    return b"" if found is None else found[1]


def installed(console: Console, folder: Path = _FOLDER) -> Path | None:
    """Return its program, installed now if it was not; None if it does not install."""
    program = folder / "bin" / "litellm"
    if program.exists():
        return program
    console.print(f"installing LiteLLM {VERSION} in {folder}")
    package = f"litellm[proxy]=={VERSION}"
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", package]
        subprocess.run(pip, check=True, stdout=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        console.print(f"LiteLLM was not installed: {error}")
        return None
    return program


@asynccontextmanager
async def _running(program: Path, rig: Rig) -> AsyncIterator[Proxy]:
    """Run the proxy with one worker until the block is left."""
    config = rig.home.root / "litellm.json"
    config.write_text(json.dumps(_config(rig)))
    port = free_port()
    arguments = ("--config", str(config), "--host", "127.0.0.1", "--port", str(port))
    started_s = time.monotonic()
    with rig.home.log("litellm").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(program), *arguments, "--num_workers", "1"),
            env={**os.environ, **_ENV},
            stdout=log,
            stderr=log,
        )
    try:
        while not await _is_alive(port):
            if process.returncode is not None or time.monotonic() > started_s + _READY_WITHIN_S:
                raise RuntimeError(f"LiteLLM does not start: {rig.home.log('litellm')}")
            await asyncio.sleep(_LOOK_S)
        yield Proxy(f"127.0.0.1:{port}", process.pid, time.monotonic() - started_s)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _config(rig: Rig) -> dict[str, object]:
    redis = urlsplit(rig.place.addresses["redis"])
    asked = {
        "model": f"openai/{_MODEL}",
        "api_base": f"{rig.simulator}/v1",
        "api_key": "of-the-simulator",
    }
    cache = {
        "type": "redis",
        "host": redis.hostname,
        "port": redis.port,
        # What is not to be cached costs nothing of it.
        "mode": "default_off",
    }
    return {
        "model_list": [{"model_name": _MODEL, "litellm_params": asked}],
        "litellm_settings": {"cache": True, "cache_params": cache, "telemetry": False},
    }


async def _is_alive(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET /health/liveliness HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    said = await reader.read()
    writer.close()
    return said.startswith(b"HTTP/1.1 200")
