"""The demo's last scene: a report in the background, over HTTP; a question does not wait."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.rule import Rule
from rich.text import Text

from cli.asking import ask
from cli.home import Place
from libs.values import Question

_TOPIC = "How hasten spends the time of a request"
_LIMIT_S = 60.0
_SHOWN_CHARACTERS = 400
_FINAL = ("completed", "error")


async def play_job(console: Console, place: Place, question: Question) -> bool:
    """Submit a report, ask a question meanwhile, and follow the report to its end.

    Returns:
        True if the report was made and the question was answered before it.
    """
    console.print(Rule("a job over HTTP: a report in the background", align="left"))
    async with httpx.AsyncClient(
        base_url=place.addresses["edge"], trust_env=False, timeout=_LIMIT_S
    ) as http:
        started_s = time.monotonic()
        body = {"kind": "report", "input": {"topic": _TOPIC, "collection": question.collection}}
        accepted = await http.post("/v1/jobs", json=body)
        where = accepted.headers.get("location", "")
        console.print(f"POST /v1/jobs: {accepted.status_code}, Location: {where}")
        if not accepted.is_success:
            return False
        answer = await ask(place, question, _LIMIT_S)
        asked_s = time.monotonic() - started_s
        job = await _follow(console, http, where)
    took_s = time.monotonic() - started_s
    _show(console, job)
    console.print(
        f"the report took {took_s:.1f} s; a question asked meanwhile, {asked_s * 1e3:.0f} ms"
    )
    return job.get("state") == "succeeded" and answer.completed is not None and asked_s < took_s


async def _follow(console: Console, http: httpx.AsyncClient, where: str) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("waiting", total=100)
        async for name, data in _events(http, f"{where}/events"):
            if name == "progress":
                progress.update(
                    bar, completed=data["percent"], description=data["stage"] or "begun"
                )
            elif name in _FINAL:
                progress.update(bar, completed=100, description="done")
                ended: dict[str, Any] = data
                return ended
    return {}


async def _events(http: httpx.AsyncClient, path: str) -> AsyncIterator[tuple[str, Any]]:
    headers = {"Accept": "text/event-stream"}
    async with http.stream("GET", path, headers=headers) as response:
        name = ""
        async for line in response.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)


def _show(console: Console, job: dict[str, Any]) -> None:
    result = job.get("result") or {}
    text = str(result.get("markdown") or job.get("error") or "")
    more = " ..." if len(text) > _SHOWN_CHARACTERS else ""
    console.print(Text(text[:_SHOWN_CHARACTERS] + more))
    sections, sources = result.get("section_count", 0), len(result.get("sources", ()))
    console.print(f"  {sections} sections from {sources} documents, {result.get('quality', '')}")
