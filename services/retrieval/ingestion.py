"""From documents as they are given to documents that can be stored."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence

from libs.values.retrieval import Document
from services.retrieval.chunking import Chunk, Chunker
from services.retrieval.embedder import Embedder
from services.retrieval.writer import Prepared


def content_sha256(document: Document) -> str:
    """Return the SHA-256, in hex, of everything that was given."""
    given = [
        document.document_id,
        document.title,
        document.text,
        int(document.format),
        sorted(document.metadata.items()),
        document.uri,
        document.scope,
        document.unsplit,
    ]
    return hashlib.sha256(json.dumps(given).encode()).hexdigest()


def embedded_text(document: Document, chunk: Chunk) -> str:
    """Return what is embedded of a passage: its words below what they stand under."""
    body = document.text[chunk.start : chunk.end]
    # The topmost heading often is the title.
    title = "" if chunk.heading.startswith(document.title) else document.title
    return "\n".join(part for part in (title, chunk.heading, body) if part)


class Ingestion:
    """Cuts documents and has their passages embedded."""

    def __init__(self, chunker: Chunker, embedder: Embedder) -> None:
        self._chunker = chunker
        self._embedder = embedder

    async def prepare(
        self, documents: Sequence[Document], hashes: Sequence[str], stored: Mapping[str, str]
    ) -> tuple[list[Prepared], str]:
        """Return the documents ready to be stored, and the fingerprint of their vectors.

        Args:
            documents: what was given.
            hashes: their content hashes.
            stored: hashes by document id; one that is the same is not embedded again.

        Raises:
            DependencyUnavailableError: vectors cannot be made now.
            BudgetExhaustedError: the caller's time ended first.
        """
        # In a thread: a large document takes a second.
        cut = await asyncio.to_thread(
            lambda: [
                None if stored.get(each.document_id) == hash_ else tuple(self._chunker.split(each))
                for each, hash_ in zip(documents, hashes, strict=True)
            ]
        )
        vectors = await self._embedder.embed(
            [
                embedded_text(each, chunk)
                for each, chunks in zip(documents, cut, strict=True)
                for chunk in chunks or ()
            ]
        )
        prepared, at = [], 0
        for each, hash_, chunks in zip(documents, hashes, cut, strict=True):
            end = at + len(chunks or ())
            prepared.append(Prepared(each, hash_, chunks, vectors.matrix[at:end]))
            at = end
        return prepared, vectors.fingerprint
