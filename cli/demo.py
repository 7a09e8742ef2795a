"""`hasten demo`: the whole mesh on real documents, question by question, with its clocks."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from cli.asking import ask, ask_aloud, show_ending
from cli.clients import connected
from cli.corpus import corpus
from cli.demo_job import play_job
from cli.home import Home, Place
from cli.ingesting import ingest
from cli.layout import plan_layout
from cli.supervisor import running
from libs.clients.retrieval import RetrievalClient
from libs.errors import FingerprintMismatchError
from libs.values import CacheLayer, Completed, Question
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
    Scene("a miss: found, then written", "What happens when Redis is dead?"),
    Scene(
        "the same again: an exact hit",
        "What happens when Redis is dead?",
        CacheLayer.EXACT,
    ),
    Scene(
        "a paraphrase: a semantic hit",
        "What happens if Redis is dead?",
        CacheLayer.SEMANTIC,
    ),
    Scene(
        "a near-miss: like the first, but another question: not reused",
        "What happens when retrieval is dead?",
    ),
    Scene(
        "in a hurry: no time for the whole plan, so it does what fits and says so",
        "How does hasten keep two tenants apart?",
        budget_s=0.036,
        degraded=True,
    ),
)
_CROWD = Scene("ten at once: the same question from ten callers", "What is a budget?")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a scene showed; `held` is False if it was not what it is there to show."""

    scene: Scene
    answers: Sequence[WholeAnswer]
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
        shown.append(await _play_crowd(console, mesh.place))
        job_held = await play_job(console, mesh.place, _question(_SCENES[1]))
        console.print(_summary(shown))
    console.print(f"all processes have ended, {time.monotonic() - started_s:.1f} s in all")
    if not (job_held and all(each.held for each in shown)):
        sys.exit(1)


async def _ingest(console: Console, place: Place) -> None:
    documents = corpus(_PROJECT)
    started_s = time.monotonic()
    try:
        done = await ingest(place, _TENANT, _COLLECTION, documents, console)
    except FingerprintMismatchError:
        # The encoder is another one than when the demo last ran here.
        async with connected(place, "retrieval") as connection:
            client = RetrievalClient(connection)
            await client.delete_collection(_TENANT, _COLLECTION, limit_s=_DEADLINE_S)
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
    return Shown(scene, [answer], _holds(scene, answer))


async def _play_crowd(console: Console, place: Place) -> Shown:
    console.print(Rule(_CROWD.title, align="left"))
    console.print(Text(f"> {_CROWD.question}", style="bold"))
    asking = [ask(place, _question(_CROWD), _DEADLINE_S) for _ in range(_AT_ONCE)]
    answers = await asyncio.gather(*asking)
    texts = {"".join(answer.texts) for answer in answers}
    for text in texts:
        console.print(Text(text))
    followers = [answer for answer in answers if _is_follower(answer)]
    show_ending(console, (followers or answers)[-1], explain=True)
    # One is written; who comes late may find it stored.
    made = sum(not _is_follower(each) and _is_miss(each) for each in answers)
    console.print(f"{made} written, {len(followers)} of {len(answers)} followed it")
    return Shown(_CROWD, answers, all(map(_is_answered, answers)) and made == 1)


def _is_follower(answer: WholeAnswer) -> bool:
    return answer.completed is not None and bool(answer.completed.followed_run_id)


def _is_miss(answer: WholeAnswer) -> bool:
    return answer.completed is not None and _layer(answer.completed) is CacheLayer.NONE


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
    degraded = bool(completed.degradations)
    as_told = _layer(completed) is scene.layer and (degraded or not scene.degraded)
    return as_told and _in_time(scene, answer)


def _in_time(scene: Scene, answer: WholeAnswer) -> bool:
    """Return whether an answer, or an honest refusal of one in a hurry, came at all."""
    return bool(answer.texts) and (scene.degraded or _is_answered(answer))


def _is_answered(answer: WholeAnswer) -> bool:
    completed = answer.completed
    return completed is not None and completed.finish_reason.is_whole


def _summary(shown: Sequence[Shown]) -> Table:
    table = Table(title="What came from where, and when", title_justify="left", box=None)
    for column in ("scene", "cache", "quality"):
        table.add_column(column)
    table.add_column("first text", justify="right")
    table.add_column("whole", justify="right")
    table.add_column("as told")
    for each in shown:
        table.add_row(*_row(each))
    return table


def _row(shown: Shown) -> list[str]:
    ends = [answer.completed for answer in shown.answers if answer.completed]
    layers = Counter(
        "shared" if end.followed_run_id else _layer(end).name.lower().replace("none", "miss")
        for end in ends
    )
    qualities = Counter(end.quality.name.lower() for end in ends)
    first_ms = statistics.median((end.account.first_text_s or 0.0) * 1e3 for end in ends)
    whole_ms = statistics.median(end.account.total_s * 1e3 for end in ends)
    return [
        shown.scene.title.split(":")[0],
        _counted(layers),
        _counted(qualities),
        f"{first_ms:.1f} ms",
        f"{whole_ms:.1f} ms",
        "yes" if shown.held else "NO",
    ]


def _counted(found: Counter[str]) -> str:
    if found.total() == 1:
        return next(iter(found))
    return ", ".join(f"{count} {name}" for name, count in found.most_common())


def _layer(completed: Completed) -> CacheLayer:
    hit = completed.cache_hit
    return CacheLayer.NONE if hit is None else hit.layer
