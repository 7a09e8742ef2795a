"""`hasten ingest`: reads files and stores them as documents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.clients import connected
from cli.documents import read_documents
from cli.home import Place
from libs.clients.retrieval import RetrievalClient
from libs.reading import Unreadable
from libs.values.retrieval import Document

# A call's share: few enough to be quick, enough to fill the encoder's batches.
_MOST_DOCUMENTS = 32
_MOST_CHARACTERS = 200_000
_LIMIT_S = 120.0


@dataclass(slots=True)
class Ingested:
    """What came of an ingestion."""

    document_count: int = 0
    changed_count: int = 0
    passage_count: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)


async def ingest(
    place: Place,
    tenant_id: str,
    collection: str,
    documents: Sequence[Document | Unreadable],
    console: Console,
) -> Ingested:
    """Store documents, with a progress bar.

    Raises:
        MeshError: the mesh refused or failed; what was stored before stays.
    """
    done = Ingested(unreadable=[each for each in documents if isinstance(each, Unreadable)])
    readable = [each for each in documents if isinstance(each, Document)]
    async with connected(place, "retrieval") as connection:
        client = RetrievalClient(connection)
        await client.create_collection(tenant_id, collection, limit_s=_LIMIT_S)
        with _progress(console) as progress:
            bar = progress.add_task("ingesting", total=len(readable))
            for batch in batches(readable):
                stored = await client.upsert(tenant_id, collection, batch, limit_s=_LIMIT_S)
                done.document_count += len(batch)
                done.changed_count += stored.changed_count
                done.passage_count += stored.passage_count
                progress.advance(bar, len(batch))
    return done


def read_paths(paths: Iterable[Path]) -> list[Document | Unreadable]:
    """Return every document below the paths, and what could not be read."""
    return list(read_documents(list(paths)))


def batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Cut documents into calls of bounded size; one that is larger goes alone."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        full = len(batch) >= _MOST_DOCUMENTS or size + len(document.text) > _MOST_CHARACTERS
        if batch and full:
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += len(document.text)
    if batch:
        yield batch


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def tell(done: Ingested, *, as_json: bool) -> None:
    """Print what came of an ingestion."""
    if as_json:
        typer.echo(json.dumps(asdict(done), default=str))
        return
    for each in done.unreadable:
        typer.echo(f"skipped {each.path}: {each.reason}", err=True)
    typer.echo(
        f"{done.document_count} documents ({done.changed_count} new or changed), "
        f"{done.passage_count} passages, {len(done.unreadable)} files skipped"
    )
