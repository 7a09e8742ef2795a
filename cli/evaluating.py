"""`hasten eval`: how good retrieval and the extractive answer are, on questions with answers."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import track

from cli.clients import connected
from cli.home import Place
from cli.ingesting import ingest
from cli.squad import Found, RetrievalScore, SquadQuestion, contains_answer, read_squad, scored
from libs.clients.embedding import EmbeddingClient
from libs.clients.generation import GenerationClient
from libs.clients.retrieval import RetrievalClient
from libs.values import ModelTier, Passage, TextDelta
from libs.values.generation import Prompt
from libs.values.retrieval import SearchQuery, SearchStage

_TENANT = "default"
_LIMIT_S = 30.0
_LISTED = 10
# What a policy gives the writer by default.
_PASSAGES = 6
_AT_ONCE = 4
_NO_WORDS = "?"


@dataclass(frozen=True, slots=True)
class Figures:
    """How good the path was on one file.

    Attributes:
        retrieval: how well documents were found, by the last list of each search.
        stages: the same by each kind of list; the one by words is of a search without a vector.
        extractive_accuracy: share of questions, in [0, 1], whose extractive answer holds
            an answer that counts as right.
        extractive_characters: mean length of those answers.
    """

    retrieval: RetrievalScore
    stages: dict[str, RetrievalScore]
    extractive_accuracy: float
    extractive_characters: float


@dataclass(frozen=True, slots=True)
class _Clients:
    embedding: EmbeddingClient
    retrieval: RetrievalClient
    generation: GenerationClient


@dataclass(frozen=True, slots=True)
class _Lists:
    """What one question found, by the stage of the list; the best is last."""

    found: dict[str, Found]

    @property
    def best(self) -> Found:
        return next(reversed(self.found.values()))


async def evaluate(place: Place, path: Path, console: Console) -> Figures:
    """Store a SQuAD file's passages in a collection of their own, ask, and score.

    Raises:
        OSError: the file cannot be read.
        SquadError: it is not of SQuAD's form.
        MeshError: the mesh failed.
    """
    squad = read_squad(path)
    collection = f"eval-{secrets.token_hex(6)}"
    async with _connected(place) as clients:
        try:
            await ingest(place, _TENANT, collection, squad.documents, console)
            asked = await _ask_all(clients, collection, squad.questions, console)
        finally:
            await clients.retrieval.delete_collection(_TENANT, collection, limit_s=_LIMIT_S)
    answers = [answer for _, answer in asked]
    right = [contains_answer(text, each.answers) for each, text in zip(squad.questions, answers)]  # noqa: B905
    return Figures(
        scored([each.best for each, _ in asked]),
        _by_stage([each for each, _ in asked]),
        sum(right) / len(right),
        sum(map(len, answers)) / len(answers),
    )


def tell(figures: Figures, *, as_json: bool) -> None:
    """Print the figures."""
    if as_json:
        typer.echo(json.dumps(asdict(figures)))
        return
    found = figures.retrieval
    typer.echo(f"questions            {found.question_count}")
    for cutoff, share in found.recall_at.items():
        typer.echo(f"{f'recall@{cutoff}':<20} {share:.4f}")
    typer.echo(f"MRR                  {found.mean_reciprocal_rank:.4f}")
    for stage, score in figures.stages.items():
        typer.echo(
            f"{stage:<20} recall@1 {score.recall_at[1]:.4f}, MRR {score.mean_reciprocal_rank:.4f}"
            f" ({score.question_count} questions)"
        )
    typer.echo(f"extractive accuracy  {figures.extractive_accuracy:.4f}")
    typer.echo(f"extractive length    {figures.extractive_characters:.0f} characters")


@asynccontextmanager
async def _connected(place: Place) -> AsyncIterator[_Clients]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        yield _Clients(
            EmbeddingClient(await enter(connected(place, "embedding"))),
            RetrievalClient(await enter(connected(place, "retrieval"))),
            GenerationClient(await enter(connected(place, "generation"))),
        )


async def _ask_all(
    clients: _Clients, collection: str, questions: Sequence[SquadQuestion], console: Console
) -> list[tuple[_Lists, str]]:
    asked: list[tuple[_Lists, str]] = []
    starts = range(0, len(questions), _AT_ONCE)
    for start in track(starts, "asking", console=console, transient=True):
        several = questions[start : start + _AT_ONCE]
        asked += await asyncio.gather(*(_ask(clients, collection, each) for each in several))
    return asked


async def _ask(clients: _Clients, collection: str, question: SquadQuestion) -> tuple[_Lists, str]:
    vector = await clients.embedding.embed([question.question], limit_s=_LIMIT_S)
    query = SearchQuery(_TENANT, collection, question.question, limit=_LISTED)
    meant = replace(query, embedding=vector[0], embedding_fingerprint=vector.fingerprint)
    by_words = await _search(clients, query)
    # Without a word there is nothing to fuse: what is fused is the ranking by meaning.
    by_meaning = await _search(clients, replace(meant, question=_NO_WORDS))
    lists = by_words | {"dense": by_meaning["fused"]} | await _search(clients, meant)
    passages = next(reversed(lists.values()), ())
    answer = await _extract(clients, question.question, passages[:_PASSAGES])
    return _Lists({stage: _found(question, each) for stage, each in lists.items()}), answer


async def _search(clients: _Clients, query: SearchQuery) -> dict[str, tuple[Passage, ...]]:
    """Return the passages of each list, best last."""
    lists: dict[str, tuple[Passage, ...]] = {}
    async with clients.retrieval.search(query, limit_s=_LIMIT_S) as found:
        async for each in found:
            lists[each.stage.name.lower()] = each.passages
    return lists


def _found(question: SquadQuestion, passages: tuple[Passage, ...]) -> Found:
    ids = tuple(passage.document_id for passage in passages)
    return Found(question, ids, tuple(passage.text for passage in passages))


def _by_stage(asked: Sequence[_Lists]) -> dict[str, RetrievalScore]:
    names = [stage.name.lower() for stage in SearchStage]
    found = {name: [each.found[name] for each in asked if name in each.found] for name in names}
    return {name: scored(each) for name, each in found.items() if each}


async def _extract(clients: _Clients, question: str, passages: tuple[Passage, ...]) -> str:
    prompt = Prompt(_TENANT, question, ModelTier.EXTRACTIVE, passages=passages)
    text = ""
    async with clients.generation.generate(prompt, limit_s=_LIMIT_S) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                text += event.text
    return text
