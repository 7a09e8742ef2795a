"""What an answer stands on: the passages that were found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from libs.values import Passage, Quality, Sources, SourceVersion
from libs.values.retrieval import PassageList, SearchStage
from services.orchestrator.plan import BRIEF, Rungs


@dataclass(frozen=True, slots=True)
class Ground:
    """Passages, and what they were read from.

    Attributes:
        passages: best first.
        collection: where they are from.
        stage: what the list is made from.
        index_version: version of the index they were read at.
        store_id: the store that versions belong to.
        searched: False if nobody could search.
    """

    passages: tuple[Passage, ...] = ()
    collection: str = ""
    stage: SearchStage = SearchStage.UNSPECIFIED
    index_version: int = 0
    store_id: str = ""
    searched: bool = False

    @classmethod
    def of(cls, found: PassageList, collection: str) -> Self:
        """Return the ground that a search gives."""
        return cls(
            found.passages, collection, found.stage, found.index_version, found.store_id, True
        )

    def sources(self) -> Sources:
        """Return the event that names the passages."""
        return Sources(self.passages, self.index_version, self.stage.name.lower())

    def versions(self) -> tuple[SourceVersion, ...]:
        """Return each document once, with the version that was read."""
        read = {passage.document_id: passage.document_version for passage in self.passages}
        return tuple(SourceVersion(self.collection, *each) for each in read.items())

    def quality(self, writer: str) -> Quality:
        """Return the quality of an answer that is written from here on some rung."""
        if not self.passages:
            return Quality.UNSUPPORTED
        return self.rungs(writer).quality

    def rungs(self, writer: str) -> Rungs:
        """Return the way that was taken, if `writer` goes on from here."""
        return Rungs(dense=self.stage is not SearchStage.LEXICAL, writer=writer)

    def read_by(self, writer: str) -> tuple[Passage, ...]:
        """Return the passages that are read on some rung: the first half of them, or all."""
        count = len(self.passages)
        return self.passages[: (count + 1) // 2] if writer == BRIEF else self.passages


NO_GROUND = Ground()
