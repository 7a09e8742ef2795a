"""`hasten cache explain`: what each stage makes of the stored questions nearest to one."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from cli.clients import connected
from cli.home import Home, Place
from cli.options import Json, Tenant
from libs.clients.cache import CacheClient
from libs.clients.embedding import EmbeddingClient
from libs.values.cache import ExplainedCandidate, Explanation

_LIMIT_S = 10.0
# Enough of a digest to see which answers are of one context.
_SHORT = 8


def explain(
    question: Annotated[str, typer.Argument(help="A question as a caller would ask it.")],
    *,
    tenant: Tenant = "default",
    limit: Annotated[int, typer.Option(min=1, max=50, help="Stored questions to look at.")] = 5,
    as_json: Json = False,
) -> None:
    """Show what a lookup by meaning makes of the stored questions nearest to one, and why."""
    found = asyncio.run(explained(Home().find(), tenant, question, limit))
    if as_json:
        typer.echo(json.dumps({"question": question, **_members(found)}))
    else:
        show(Console(highlight=False), found)


async def explained(place: Place, tenant_id: str, question: str, limit: int) -> Explanation:
    """Ask the cache.

    Raises:
        MeshError: a service does not answer, or refuses.
    """
    async with connected(place, "embedding") as encoder, connected(place, "cache") as cache:
        vectors = await EmbeddingClient(encoder).embed([question], limit_s=_LIMIT_S)
        return await CacheClient(cache).explain(
            tenant_id, question, vectors[0], vectors.fingerprint, limit=limit, limit_s=_LIMIT_S
        )


def show(console: Console, found: Explanation) -> None:
    """Print what is made of each stored question."""
    console.print(f"judged from cosine {found.floor:.2f}; served from P {found.target:.2f}")
    if not found.candidates:
        console.print("nothing is stored that could be found by meaning")
        return
    for number, each in enumerate(found.candidates, 1):
        console.print(f"{number:>3}  {each.question}", markup=False, soft_wrap=True)
        console.print(f"     {each.reason}: {_numbers(each)}", soft_wrap=True)
        console.print(f"     {_facts(each)}", style="dim", soft_wrap=True)


def _numbers(each: ExplainedCandidate) -> str:
    shares = {"cheap P": each.cheap, "verified P": each.verified, "P": each.probability}
    said = [f"{name} {share:.3f}" for name, share in shares.items() if share is not None]
    return ", ".join((f"cosine {each.similarity:.3f}", *said))


def _facts(each: ExplainedCandidate) -> str:
    where = f"collection {each.collection}, context {each.context[:_SHORT]}"
    return f"{each.quality.name}, {each.age_s:.0f} s old, {where}, entry {each.entry_id}"


def _members(found: Explanation) -> dict[str, object]:
    rows = [{**asdict(each), "quality": each.quality.name} for each in found.candidates]
    return {"floor": found.floor, "target": found.target, "candidates": rows}
