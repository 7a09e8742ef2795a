"""What the kinds of jobs reach of the mesh."""

from __future__ import annotations

from dataclasses import dataclass

from libs.clients.answer import AnswerClient
from libs.clients.embedding import EmbeddingClient
from libs.clients.generation import GenerationClient
from libs.clients.retrieval import RetrievalClient


@dataclass(frozen=True, slots=True)
class Clients:
    """Clients of the services that a job calls.

    Attributes:
        answers: the orchestrator, which answers one question.
        retrieval: documents and passages.
        generation: models; the extractive engine where there is none.
        embedding: what texts mean; without it, words alone are compared.
    """

    answers: AnswerClient
    retrieval: RetrievalClient
    generation: GenerationClient
    embedding: EmbeddingClient | None = None
