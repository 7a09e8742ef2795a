"""What retrieval finds for the questions of a SQuAD file, seen by a reranker that only looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cli.squad import Squad, SquadQuestion
from libs.values.retrieval import PassageList, SearchQuery, SearchStage
from services.embedding.manifest import Precision
from services.embedding.onnx_engine import OnnxEngine
from services.retrieval.chunking import Chunker
from services.retrieval.embedder import Vectors
from services.retrieval.ingestion import Ingestion
from services.retrieval.library import Library
from services.retrieval.reranking.features import Asked, Candidate, features
from services.retrieval.shelf import Shelf
from services.retrieval.store import Store

_BATCH_COUNT = 64
_TENANT, _COLLECTION = "eval", "squad"


@dataclass(frozen=True, slots=True)
class Case:
    """One question and what was found for it.

    Attributes:
        article: the group that the question belongs to.
        rows: features of each candidate, in the order they were fused.
        right: index of the candidate that answers it; None if it is not among them.
        first_by_words: whether it is the first by words.
        first_by_meaning: whether it is the first by meaning.
    """

    article: str
    rows: NDArray[np.float64]
    right: int | None
    first_by_words: bool
    first_by_meaning: bool


class Engine:
    """Makes vectors here, by the graph that the embedding service runs."""

    def __init__(self, folder: Path) -> None:
        """Load the model of a folder."""
        self._engine = OnnxEngine(folder, Precision.INT8, threads=1)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return a vector for each text."""
        rows = await asyncio.to_thread(self._embed, texts)
        return Vectors(rows, self._engine.model.fingerprint)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        starts = range(0, len(texts), _BATCH_COUNT)
        blocks = [self._engine.embed(texts[start : start + _BATCH_COUNT]) for start in starts]
        return np.array([np.frombuffer(row, "<f4") for block in blocks for row in block])


class Onlooker:
    """A reranker that keeps what it is shown, and changes no order."""

    def __init__(self) -> None:
        self.shown: list[tuple[Asked, Sequence[Candidate]]] = []

    async def scores(self, asked: Asked, candidates: Sequence[Candidate]) -> None:
        """Keep them."""
        self.shown.append((asked, candidates))


async def gathered(squad: Squad, model_dir: Path, folder: Path) -> list[Case]:
    """Store the paragraphs of a file, unsplit, ask its questions and return what was found.

    Args:
        squad: the file.
        model_dir: folder of the encoder.
        folder: an empty one, for the store.
    """
    engine, onlooker = await asyncio.to_thread(Engine, model_dir), Onlooker()
    async with _library(folder, engine, onlooker) as library:
        await library.create_collection(_TENANT, _COLLECTION)
        for start in range(0, len(squad.documents), _BATCH_COUNT):
            documents = squad.documents[start : start + _BATCH_COUNT]
            await library.upsert(_TENANT, _COLLECTION, documents)
        vectors = await engine.embed([each.question for each in squad.questions])
        for question, vector in zip(squad.questions, vectors.matrix, strict=True):
            await _ask(library, question.question, vector.tobytes(), vectors.fingerprint)
    texts = {each.document_id: each.text for each in squad.documents}
    return [
        _case(question, texts[question.document_id].strip(), *shown)
        for question, shown in zip(squad.questions, onlooker.shown, strict=True)
    ]


@asynccontextmanager
async def _library(folder: Path, engine: Engine, onlooker: Onlooker) -> AsyncIterator[Library]:
    shelf, ingestion = Shelf(graph_above=10_000, threads=1), Ingestion(Chunker(900), engine)
    async with (
        Store.open(folder, readers=1) as store,
        Library.over(
            store, shelf, ingestion, readers=1, heartbeat_s=0.1, reranker=onlooker
        ) as library,
    ):
        yield library


async def _ask(library: Library, question: str, vector: bytes, fingerprint: str) -> PassageList:
    query = SearchQuery(_TENANT, _COLLECTION, question, vector, fingerprint, limit=1)
    found = [each async for each in library.search(query)]
    if found[-1].stage is not SearchStage.FUSED:
        raise ValueError(f"{question!r} was not looked for by meaning")
    return found[-1]


def _case(
    question: SquadQuestion, text: str, asked: Asked, candidates: Sequence[Candidate]
) -> Case:
    right = next((at for at, each in enumerate(candidates) if each.text.strip() == text), None)
    found = None if right is None else candidates[right]
    return Case(
        question.document_id.split("/", 1)[0],
        features(asked, candidates),
        right,
        found is not None and found.rank_words == 1,
        found is not None and found.rank_meaning == 1,
    )
