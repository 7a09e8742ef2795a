"""`hasten cache export`: writes a tenant's answers to a file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.cache.archive import ArchiveWriter
from cli.cache.progress import advancing
from cli.clients import connected
from cli.home import Home, Place
from cli.options import Json, Tenant
from libs.clients.cache import CacheClient

# For all of them, however many.
_LIMIT_S = 3600.0


def export(
    file: Annotated[Path, typer.Argument(help="Where to write; replaced if it is there.")],
    tenant: Tenant = "default",
    *,
    as_json: Json = False,
) -> None:
    """Write a tenant's stored answers to a file that `hasten cache import` reads."""
    console = Console(stderr=True, highlight=False)
    count = asyncio.run(export_answers(Home().find(), tenant, file, console))
    if as_json:
        typer.echo(json.dumps({"tenant": tenant, "file": str(file), "exported": count}))
    else:
        typer.echo(f"{count:,} answers of tenant {tenant} are in {file}")


async def export_answers(place: Place, tenant_id: str, file: Path, console: Console) -> int:
    """Write a tenant's answers to a file; return how many.

    Raises:
        OSError: the file cannot be written.
        MeshError: the cache failed; the file is as it was before.
    """
    with ArchiveWriter(file, tenant_id) as writer, advancing(console, "exporting", None) as advance:
        async with connected(place, "cache") as connection:
            cache = CacheClient(connection)
            async with cache.export(tenant_id, limit_s=_LIMIT_S) as answers:
                async for each in answers:
                    writer.add(each)
                    advance()
    return writer.count
