"""What an answer stands on: the passages that were found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from libs.values import Citation, Passage, Quality, Sources, SourceVersion
from libs.values.retrieval import PassageList, SearchStage
from services.orchestrator.outlining import Said
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
        documents: all of a small collection, whole; empty if it does not go into the prompt.
    """

    passages: tuple[Passage, ...] = ()
    collection: str = ""
    stage: SearchStage = SearchStage.UNSPECIFIED
    index_version: int = 0
    store_id: str = ""
    searched: bool = False
    documents: tuple[Passage, ...] = ()

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
        read = {
            passage.document_id: passage.document_version
            for passage in (*self.passages, *self.documents)
        }
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


class Cited:
    """The sources of one answer: the passages found, then places of documents cited beside them.

    A model that was given whole documents may cite what no passage holds; it becomes a source
    of its own as it is cited.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._places: dict[tuple[str, int, int], int] = {}
        self._passages = list(ground.passages)

    def placed(self, event: Said) -> Said:
        """Return the event with its source among `sources`, which may have one more by then."""
        if not isinstance(event, Citation):
            return event
        index = event.source_index - len(self._ground.passages)
        if not 0 <= index < len(self._ground.documents):
            return event
        place = (event.document_id, event.start_offset, event.end_offset)
        if place not in self._places:
            self._places[place] = len(self._passages)
            self._passages.append(_cut(self._ground.documents[index], event))
        return replace(event, source_index=self._places[place])

    @property
    def count(self) -> int:
        """How many sources there are by now."""
        return len(self._passages)

    def sources(self) -> Sources:
        """Return the event that names them."""
        return replace(self._ground.sources(), passages=tuple(self._passages))

    def with_stored(self, stored: Sources) -> Sources | None:
        """Return the sources of a stored answer to the same prompt; None if they are sent already.

        The passages are those that were read just now; what it cites beside them stays.
        """
        beside = stored.passages[len(self._ground.passages) :]
        if not beside:
            return None
        now = self._ground.sources()
        return replace(now, passages=(*now.passages, *beside))


def _cut(document: Passage, citation: Citation) -> Passage:
    return replace(
        document,
        passage_id=f"{document.document_id}:{citation.start_offset}-{citation.end_offset}",
        text=citation.cited_text,
        start_offset=citation.start_offset,
        end_offset=citation.end_offset,
    )
