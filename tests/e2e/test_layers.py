"""Mixed traffic over HTTP: hits at once, misses streamed, and jobs of what cannot be met."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.corpus import FACTS, other

# A model that takes a second and a half to its first word, as slow ones do, some far longer.
PROVIDER = {
    "--first-text": "lognormal:1.2:0.6",
    "--gap": "0.02",
    "--words": "60",
}
# Nothing but the model's own text will do: what it cannot say in time becomes a job.
POLICIES = """
[layered]
fallback = "job"
first_text_s = 2.05
end_s = 20.0
"""
NEW, REPEATED, HURRIED = 60, 120, 20
AT_ONCE = 6
ASKED = {"policy": "layered", "minimum_quality": "full"}
# Less than the model needs even on a good day.
HURRY = {"budget_ms": 400}


@dataclass(frozen=True, slots=True)
class Way:
    """What became of one question.

    Attributes:
        name: `hit`, `streamed`, `job` or `refused`.
        first_s: seconds to its first content.
        whole_s: seconds to its end; of a job, to its result.
    """

    name: str
    first_s: float
    whole_s: float


@contextmanager
def running(command: list[str], env: dict[str, str], sign: str) -> Iterator[str]:
    """Run a process until the block is left; yield the line that holds the sign."""
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = next((each for each in process.stdout if sign in each), None)
        assert line is not None, f"{command[2]} did not start"
        yield line.strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def edge(tmp_path: Path, model_dir: Path) -> Iterator[str]:
    """The address of a whole mesh over HTTP, before a provider that is slow."""
    (tmp_path / "policies.toml").write_text(POLICIES)
    options = [word for pair in PROVIDER.items() for word in pair]
    provider = [sys.executable, "-m", "tests.support.provider", *options]
    with running(provider, dict(os.environ), "http://") as url:
        own = {
            "HASTEN_HOME": str(tmp_path / "home"),
            "HASTEN_MODEL_DIR": str(model_dir.absolute()),
            "GENERATION_ENGINE": "anthropic",
            "GENERATION_ANTHROPIC_API_KEY": "a-key",
            "GENERATION_ANTHROPIC_BASE_URL": url,
            "ORCHESTRATOR_POLICIES_FILE": str(tmp_path / "policies.toml"),
        }
        with running([sys.executable, "-m", "cli.main", "up"], os.environ | own, "ready:"):
            place = json.loads((tmp_path / "home" / "mesh.json").read_text())
            yield place["addresses"]["edge"]


async def events_of(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def ask(http: httpx.AsyncClient, question: str, **more: Any) -> Way:
    """Ask as an application would, and go after the job if there is one."""
    body = {"question": question} | ASKED | more
    started_s, first_s, completed = time.perf_counter(), None, {}
    headers = {"Accept": "text/event-stream"}
    async with http.stream("POST", "/v1/answers", json=body, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        async for name, data in events_of(response.aiter_lines()):
            if name == "text" and first_s is None:
                first_s = time.perf_counter() - started_s
            if name == "completed":
                completed = data
    if completed.get("job_id"):
        job = await http.get(f"/v1/jobs/{completed['job_id']}?wait=60")
        assert job.json()["state"] == "succeeded", job.text
        way = "job"
    elif completed["cache"]:
        way = "hit"
    else:
        way = "streamed" if completed["answer_state"] == "complete" else "refused"
    whole_s = time.perf_counter() - started_s
    return Way(way, whole_s if first_s is None else first_s, whole_s)


async def upload(http: httpx.AsyncClient) -> None:
    files = [{"name": fact.name, "content": fact.text} for fact in FACTS]
    accepted = await http.post("/v1/documents", json={"files": files})
    assert accepted.status_code == 202, accepted.text
    stored = (await http.get(f"{accepted.headers['location']}?wait=60")).json()
    assert stored["result"]["document_count"] == len(FACTS)


async def traffic(http: httpx.AsyncClient) -> list[Way]:
    """Ask new questions, some of them in a hurry, and each of the others twice again."""
    places = asyncio.Semaphore(AT_ONCE)

    async def placed(question: str, **more: Any) -> Way:
        async with places:
            return await ask(http, question, **more)

    ways = []
    hurried = [placed(other(number), **HURRY) for number in range(1000, 1000 + HURRIED)]
    new = [placed(other(number)) for number in range(NEW)]
    ways += await asyncio.gather(*new, *hurried)
    ways += await asyncio.gather(*[placed(other(number % NEW)) for number in range(REPEATED)])
    return ways


def table(ways: list[Way]) -> str:
    """Return how many took which way, and how long each waited."""
    lines = [f"{'way':10}{'count':>6}{'first p50':>12}{'first p95':>12}{'whole p50':>12}"]
    for name in ("hit", "streamed", "job", "refused"):
        found = [each for each in ways if each.name == name]
        if found:
            first = sorted(each.first_s for each in found)
            whole = sorted(each.whole_s for each in found)
            row = (first[len(first) // 2], first[len(first) * 95 // 100], whole[len(whole) // 2])
            cells = "".join(f"{each * 1e3:9.0f} ms" for each in row)
            lines.append(f"{name:10}{len(found):>6}{cells}")
    return "\n".join(lines)


@pytest.mark.prove
async def test_each_question_is_met_in_the_first_way_that_can(edge: str) -> None:
    async with httpx.AsyncClient(base_url=edge, trust_env=False, timeout=120) as http:
        await upload(http)
        ways = await traffic(http)
    print(f"\n{table(ways)}")
    of = {name: [each for each in ways if each.name == name] for name in ("hit", "streamed", "job")}
    assert sum(map(len, of.values())) == len(ways)
    assert all(of.values())
    hits = sorted(each.first_s for each in of["hit"])
    assert hits[len(hits) // 2] < min(each.first_s for each in of["streamed"])
    assert max(each.first_s for each in of["job"]) < 2.05 + 1.0
