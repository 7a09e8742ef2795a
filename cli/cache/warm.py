"""`hasten cache warm`: asks questions beforehand, so that their answers are there."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from cli.cache.asked import ask, refusal_of
from cli.cache.progress import advancing
from cli.cache.rows import (
    Check,
    Row,
    as_filters,
    as_quality,
    as_schema,
    as_text,
    read_rows,
)
from cli.cache.working import at_once
from cli.clients import connected
from cli.home import Home, Place
from cli.options import Collection, Json, Tenant
from libs.clients.answer import AnswerClient
from libs.errors import MeshError
from libs.resilience import background
from libs.values import AnswerState, CacheControl, CacheLayer, Question

# What a row may say beside its question; each is a field of `Question`.
FIELDS: dict[str, Check] = {
    "collection": as_text,
    "scope": as_text,
    "filters": as_filters,
    "policy": as_text,
    "minimum_quality": as_quality,
    "output_schema": as_schema,
}
# An answer is stored after it was given; how long to look for it, and when.
_LOOKS_S = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
_SHOWN = 20


class Outcome(StrEnum):
    """What came of one question."""

    STORED = "stored"
    THERE = "there already"
    SIMILAR = "served by the answer to a similar question"
    NOT_STORED = "not stored"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Warmed:
    """What came of one question.

    Attributes:
        line: of the file, from 1.
        reason: why the answer is not in the cache; empty if it is.
    """

    line: int
    question: str
    outcome: Outcome
    reason: str = ""


def warm(
    file: Annotated[Path, typer.Argument(help="Questions, one a line, as text or JSON objects.")],
    collection: Collection = "default",
    tenant: Tenant = "default",
    policy: Annotated[str, typer.Option(help="Name of the policy.")] = "background",
    concurrency: Annotated[
        int, typer.Option("--at-once", min=1, max=64, help="Questions under way at a time.")
    ] = 4,
    *,
    refresh: Annotated[bool, typer.Option("--refresh", help="Replace what is there.")] = False,
    as_json: Json = False,
) -> None:
    """Ask the questions of a file, and say which answers are in the cache then.

    Ends with status 1 if there is a question whose answer is not.
    """
    control = CacheControl.REFRESH if refresh else CacheControl.DEFAULT
    asked = Question(tenant, "", collection=collection, policy=policy, cache_control=control)
    rows = read_rows(file, FIELDS)
    console = Console(stderr=True, highlight=False)
    done = asyncio.run(warm_up(Home().find(), rows, asked, concurrency, console))
    if as_json:
        typer.echo(json.dumps({"counts": counts_of(done), "questions": [*map(asdict, done)]}))
    else:
        show(Console(highlight=False), file, done)
    if any(each.reason for each in done):
        raise typer.Exit(1)


async def warm_up(
    place: Place, rows: Sequence[Row], asked: Question, concurrency: int, console: Console
) -> list[Warmed]:
    """Ask every question behind all other work, and look whether its answer was stored.

    Args:
        place: of the mesh.
        rows: the questions.
        asked: how they are asked, where a row says nothing else.
        concurrency: questions under way at a time.
        console: where progress is shown.

    Raises:
        MeshError: the mesh cannot be spoken to.
    """
    done: list[Warmed] = []
    with advancing(console, "warming", len(rows)) as advance, background():
        async with connected(place, "orchestrator") as connection:
            client = AnswerClient(connection)

            async def warm_one(row: Row) -> None:
                question = replace(asked, question=row.question, **row.fields)
                outcome, reason = await _warm(client, question)
                done.append(Warmed(row.line, row.question, outcome, reason))
                advance()

            await at_once(concurrency, rows, warm_one)
    return sorted(done, key=lambda each: each.line)


async def _warm(client: AnswerClient, question: Question) -> tuple[Outcome, str]:
    """Ask a question; return what came of it, and why its answer is not stored if it is not."""
    answered = await ask(client, question)
    if isinstance(answered, MeshError):
        return Outcome.FAILED, f"{answered.reason}: {answered}"
    hit, state = answered.completed.cache_hit, answered.completed.answer_state
    if hit is not None:
        return (Outcome.SIMILAR if hit.layer is CacheLayer.SEMANTIC else Outcome.THERE), ""
    if state is not AnswerState.COMPLETE:
        return Outcome.NOT_STORED, f"{state.name.lower()}: {refusal_of(answered.completed)}"
    outcome = await _stored(client, question, answered.made_by)
    return outcome, "the cache did not keep it" if outcome is Outcome.NOT_STORED else ""


async def _stored(client: AnswerClient, question: Question, run_id: str) -> Outcome:
    """Look for a run's answer under its very question, as long as a store may take.

    Another one that is found there in the end is a better one, or of a later run.
    """
    look, found = replace(question, cache_control=CacheControl.ONLY_IF_CACHED), ""
    for pause_s in _LOOKS_S:
        await asyncio.sleep(pause_s)
        found = await _exactly(client, look) or found
        if found == run_id:
            return Outcome.STORED
    return Outcome.THERE if found else Outcome.NOT_STORED


async def _exactly(client: AnswerClient, look: Question) -> str:
    """Return the name of the answer that is stored under a question; empty if there is none."""
    answered = await ask(client, look)
    hit = None if isinstance(answered, MeshError) else answered.completed.cache_hit
    return hit.entry_id if hit is not None and hit.layer is CacheLayer.EXACT else ""


def counts_of(done: Sequence[Warmed]) -> dict[str, int]:
    """Return how many questions ended how."""
    counts = Counter(each.outcome for each in done)
    return {outcome.value: counts[outcome] for outcome in Outcome}


def show(console: Console, file: Path, done: Sequence[Warmed]) -> None:
    """Print which answers are not in the cache, and how many are."""
    missing = [each for each in done if each.reason]
    for each in missing[:_SHOWN]:
        console.print(Text(f"{file}:{each.line}: {each.outcome}: {each.reason}"), soft_wrap=True)
    if len(missing) > _SHOWN:
        console.print(f"and {len(missing) - _SHOWN:,} more; --json names all of them")
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in counts_of(done).items() if count)
    console.print(f"{len(done):,} questions: {told}", soft_wrap=True)
