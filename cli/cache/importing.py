"""`hasten cache import`: brings back the answers of a file."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from cli.cache.archive import Archive, Broken, Kept
from cli.cache.progress import advancing
from cli.cache.working import at_once, patiently
from cli.clients import connected
from cli.home import Home, Place
from cli.options import Json, SlipError
from libs.clients.cache import CacheClient
from libs.errors import InvalidFieldError
from libs.resilience import background

_AT_ONCE = 8
_LIMIT_S = 10.0
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Refused:
    """A line whose answer is not in the cache now, and why."""

    line: int
    entry_id: str
    reason: str


@dataclass(slots=True)
class Imported:
    """What came of an import.

    Attributes:
        stored_count: answers that are in the cache now.
        refused: those that the cache would not take.
        broken: lines that are damaged.
    """

    tenant_id: str
    stored_count: int = 0
    refused: list[Refused] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    @property
    def reasons(self) -> dict[str, int]:
        """How many answers were refused for which reason."""
        return dict(Counter(each.reason for each in self.refused).most_common())

    def members(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "tenant": self.tenant_id,
            "stored": self.stored_count,
            "reasons": self.reasons,
            "refused": [asdict(each) for each in self.refused],
            "damaged": [asdict(each) for each in self.broken],
        }


def import_(
    file: Annotated[Path, typer.Argument(help="What `hasten cache export` wrote.")],
    tenant: Annotated[
        str | None, typer.Option(help="On whose behalf; default as the file says.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Bring back the answers of a file: as old as they were, and until their end.

    Ends with status 1 if a line is damaged; the others are brought back all the same.
    """
    console = Console(stderr=True, highlight=False)
    archive = Archive(file)
    if tenant is not None and tenant != archive.tenant_id:
        raise SlipError(f"{file}: holds answers of tenant {archive.tenant_id}, not of {tenant}")
    done = asyncio.run(import_answers(Home().find(), archive, console))
    if as_json:
        typer.echo(json.dumps(done.members()))
    else:
        show(Console(highlight=False), file, done)
    if done.broken:
        raise typer.Exit(1)


async def import_answers(place: Place, archive: Archive, console: Console) -> Imported:
    """Store every answer of a file that the cache takes.

    Raises:
        OSError: the file cannot be read.
        MeshError: the cache failed; what was stored before stays.
    """
    done = Imported(archive.tenant_id)
    with advancing(console, "importing", None) as advance, background():
        async with connected(place, "cache") as connection:
            cache = CacheClient(connection)

            async def bring_back(kept: Kept) -> None:
                await _bring_back(cache, kept, done)
                advance()

            await at_once(_AT_ONCE, _whole(archive, done), bring_back)
    done.refused.sort(key=lambda each: each.line)
    return done


def _whole(archive: Archive, done: Imported) -> Iterator[Kept]:
    for each in archive.answers():
        if isinstance(each, Broken):
            done.broken.append(each)
        else:
            yield each


async def _bring_back(cache: CacheClient, kept: Kept, done: Imported) -> None:
    try:
        stored = await patiently(
            lambda: cache.restore(done.tenant_id, kept.record, limit_s=_LIMIT_S)
        )
    except InvalidFieldError as error:
        done.refused.append(Refused(kept.line, kept.entry_id, f"{error.reason}: {error}"))
        return
    if stored.stored:
        done.stored_count += 1
    else:
        done.refused.append(Refused(kept.line, kept.entry_id, stored.reason))


def show(console: Console, file: Path, done: Imported) -> None:
    """Print how many answers came back, and which did not."""
    for broken in done.broken[:_SHOWN]:
        console.print(Text(f"{file}:{broken.line}: {broken.problem}"), soft_wrap=True)
    for refused in done.refused[:_SHOWN]:
        console.print(
            Text(f"{file}:{refused.line}: {refused.entry_id}: {refused.reason}"), soft_wrap=True
        )
    if max(len(done.broken), len(done.refused)) > _SHOWN:
        console.print("and more like these; --json names all of them")
    told = ", ".join(f"{reason} {count:,}" for reason, count in done.reasons.items())
    console.print(
        f"{done.stored_count:,} answers of tenant {done.tenant_id} are back, "
        f"{len(done.refused):,} were refused{f' ({told})' if told else ''}, "
        f"{len(done.broken):,} lines are damaged",
        markup=False,
        soft_wrap=True,
    )
