"""`hasten demo`: the whole mesh on real documents, question by question, with its clocks."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from cli.asking import ask, ask_aloud, show_ending
from cli.corpus import corpus
from cli.home import Home, Place
from cli.ingesting import ingest
from cli.layout import plan_layout
from cli.supervisor import running
from libs.values import CacheLayer, Question
from libs.values.answer_json import WholeAnswer

_TENANT = "default"
_COLLECTION = "libraries"
_LEAST_PASSAGES = 300
_AT_ONCE = 10
_DEADLINE_S = 60.0
# Until a stored answer can be found by its meaning on every replica, and with margin.
_SETTLE_S = 0.5
_PROJECT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Scene:
    """One question of the demo, and what it is there to show.

    Attributes:
        title: what it shows.
        question: what is asked.
        layer: the cache layer that must answer; `NONE` if none may.
        budget_s: time to the first text; None leaves it to the policy.
        degraded: True if something must have been given up, and said so.
    """

    title: str
    question: str
    layer: CacheLayer = CacheLayer.NONE
    budget_s: float | None = None
    degraded: bool = False


_SCENES = (
    Scene("a miss: found, then written", "How do I parse a string with python-dotenv?"),
    Scene(
        "the same again: an exact hit",
        "How do I parse a string with python-dotenv?",
        CacheLayer.EXACT,
    ),
    Scene(
        "a paraphrase: a semantic hit",
        "How can I parse a string using python-dotenv?",
        CacheLayer.SEMANTIC,
    ),
    Scene(
        "a near-miss: like the first, but another question, so its answer is not reused",
        "How do I parse a file with python-dotenv on Windows?",
    ),
    Scene(
        "in a hurry: too little time for the whole plan, so it does what it can and says so",
        "How do I add a column to a Rich table?",
        budget_s=0.025,
        degraded=True,
    ),
)
_CROWD = Scene("the same question ten times at once", "What does tqdm show while a loop runs?")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a scene showed; `held` is False if it was not what it is there to show."""

    scene: Scene
    answer: WholeAnswer
    held: bool


async def run_demo(console: Console) -> None:
    """Run the demo; exit with status 1 if a scene did not show what it should."""
    started_s = time.monotonic()
    home = Home(Home().root / "demo")
    layout = plan_layout(home)
    console.print(f"starting {len(layout.processes)} processes on free ports of this machine")
    async with running(layout, home, console.print) as mesh:
        console.print(f"the mesh serves after {time.monotonic() - started_s:.1f} s")
        await _ingest(console, mesh.place)
        shown = [await _play(console, mesh.place, scene) for scene in _SCENES]
        shown += await _play_crowd(console, mesh.place)
        console.print(_summary(shown))
    console.print(f"all processes have ended, {time.monotonic() - started_s:.1f} s in all")
    if not all(each.held for each in shown):
        sys.exit(1)


async def _ingest(console: Console, place: Place) -> None:
    documents = corpus(_PROJECT)
    started_s = time.monotonic()
    done = await ingest(place, _TENANT, _COLLECTION, documents, console)
    console.print(
        f"{done.document_count} documents of this project and its libraries, "
        f"{done.changed_count} of them new: {done.passage_count} passages "
        f"in {time.monotonic() - started_s:.1f} s"
    )
    if done.changed_count == done.document_count and done.passage_count < _LEAST_PASSAGES:
        sys.exit(f"only {done.passage_count} passages; the demo wants {_LEAST_PASSAGES}")


async def _play(console: Console, place: Place, scene: Scene) -> Shown:
    console.print(Rule(scene.title, align="left"))
    console.print(Text(f"> {scene.question}", style="bold"))
    answer = await ask_aloud(place, _question(scene), _DEADLINE_S, console)
    show_ending(console, answer, explain=True)
    await asyncio.sleep(_SETTLE_S)
    return Shown(scene, answer, _holds(scene, answer))


async def _play_crowd(console: Console, place: Place) -> list[Shown]:
    console.print(Rule(_CROWD.title, align="left"))
    console.print(Text(f"> {_CROWD.question}", style="bold"))
    asking = [ask(place, _question(_CROWD), _DEADLINE_S) for _ in range(_AT_ONCE)]
    answers = await asyncio.gather(*asking)
    texts = {"".join(answer.texts) for answer in answers}
    for text in texts:
        console.print(Text(text))
    show_ending(console, answers[-1], explain=True)
    return [
        Shown(replace(_CROWD, title=f"at once, {number}"), answer, _is_answered(answer))
        for number, answer in enumerate(answers, 1)
    ]


def _question(scene: Scene) -> Question:
    return Question(
        tenant_id=_TENANT,
        question=scene.question,
        collection=_COLLECTION,
        first_text_by_s=scene.budget_s,
    )


def _holds(scene: Scene, answer: WholeAnswer) -> bool:
    completed = answer.completed
    if completed is None:
        return False
    hit = completed.cache_hit
    layer = CacheLayer.NONE if hit is None else hit.layer
    degraded = bool(completed.degradations)
    return layer is scene.layer and (degraded or not scene.degraded) and _in_time(scene, answer)


def _in_time(scene: Scene, answer: WholeAnswer) -> bool:
    """Return whether an answer, or an honest refusal of one in a hurry, came at all."""
    return bool(answer.texts) and (scene.degraded or _is_answered(answer))


def _is_answered(answer: WholeAnswer) -> bool:
    completed = answer.completed
    return completed is not None and completed.finish_reason.is_whole


def _summary(shown: Sequence[Shown]) -> Table:
    table = Table(title="What came from where, and when", title_justify="left")
    for column in ("scene", "cache", "quality", "without"):
        table.add_column(column, overflow="fold")
    table.add_column("first text", justify="right")
    table.add_column("whole", justify="right")
    table.add_column("shown")
    for each in shown:
        table.add_row(*_row(each))
    return table


def _row(shown: Shown) -> list[str]:
    completed = shown.answer.completed
    if completed is None:
        return [shown.scene.title.split(":")[0], "", "", "", "", "", "no"]
    hit = completed.cache_hit
    account = completed.account
    return [
        shown.scene.title.split(":")[0],
        "miss" if hit is None else hit.layer.name.lower(),
        completed.quality.name.lower(),
        ", ".join(f"{each.hop} {each.reason}" for each in completed.degradations),
        f"{(account.first_text_s or 0) * 1e3:.1f} ms",
        f"{account.total_s * 1e3:.1f} ms",
        "yes" if shown.held else "NO",
    ]
