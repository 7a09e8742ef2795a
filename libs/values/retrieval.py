"""Values of `hasten.retrieval.v1`; each means what the proto's comment says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from libs.values.basics import Filter, Passage, Timing


class SearchStage(IntEnum):
    """What a list of passages is made from."""

    UNSPECIFIED = 0
    LEXICAL = 1
    DENSE = 2
    FUSED = 3
    RERANKED = 4


class TextFormat(IntEnum):
    """How to read a document's text."""

    UNSPECIFIED = 0
    PLAIN = 1
    MARKDOWN = 2


@dataclass(frozen=True, slots=True)
class Document:
    """A document as its owner knows it."""

    document_id: str
    text: str
    format: TextFormat = TextFormat.PLAIN
    title: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    uri: str = ""
    scope: str = ""
    unsplit: bool = False


@dataclass(frozen=True, slots=True)
class DocumentState:
    """What the store knows of a document; `updated_at_s` is Unix time."""

    document_id: str
    title: str
    version: int
    content_sha256: str
    passage_count: int
    updated_at_s: float
    scope: str = ""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What to find, and where; `embedding` is the question as packed float32."""

    tenant_id: str
    collection: str
    question: str
    embedding: bytes = b""
    embedding_fingerprint: str = ""
    filters: tuple[Filter, ...] = ()
    limit: int = 8
    scope: str = ""


@dataclass(frozen=True, slots=True)
class PassageList:
    """A list of passages, best first; replaces the one before."""

    passages: tuple[Passage, ...]
    stage: SearchStage
    index_version: int
    store_id: str
    timing: Timing = field(default_factory=Timing)
    final: bool = False


@dataclass(frozen=True, slots=True)
class CollectionCreated:
    """The collection is there; `created` is False if it was before."""

    index_version: int
    created: bool
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class Upserted:
    """The documents are stored."""

    index_version: int
    changed_count: int
    passage_count: int
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class Deleted:
    """The documents, or the collection and its documents, are gone."""

    index_version: int
    deleted_count: int
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it was given, and what the store knows of it."""

    document: Document
    state: DocumentState
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Documents by id; an empty `next_page_token` ends the list."""

    documents: tuple[DocumentState, ...]
    next_page_token: str
    index_version: int
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class Change:
    """The last change of one document."""

    version: int
    tenant_id: str
    collection: str
    document_id: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Changes in order of their versions; without any, a sign of life.

    Attributes:
        changes: what happened.
        index_version: the version up to which everything has been told.
        store_id: if it differs from before, versions do not compare.
    """

    changes: tuple[Change, ...]
    index_version: int
    store_id: str

    @property
    def is_complete(self) -> bool:
        """False while more that had happened by then is still to be told."""
        return not self.changes or self.changes[-1].version <= self.index_version
