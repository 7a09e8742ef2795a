"""What the inputs of several kinds have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from libs.values import Filter
from services.jobs.kinds.kind import JobInput

CollectionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
DocumentId = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Asked = Annotated[str, StringConstraints(min_length=1, max_length=6_000, pattern=r"\S")]
"""A question or a topic: what is asked around it must still fit into 8,000 characters."""

Instructions = Annotated[str, StringConstraints(max_length=4_000)]
Language = Annotated[str, StringConstraints(max_length=64)]
LabelText = Annotated[str, StringConstraints(max_length=256)]
RowText = Annotated[str, StringConstraints(min_length=1, max_length=8_000, pattern=r"\S")]
MOST_ROWS = 10_000


class FilterInput(JobInput):
    """One condition on a document's metadata: `key` has one of `any_of`."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    any_of: tuple[LabelText, ...] = Field(min_length=1, max_length=32)

    def filter(self) -> Filter:
        """Return the condition."""
        return Filter(self.key, self.any_of)


Filters = Annotated[tuple[FilterInput, ...], Field(max_length=16)]


def filters_of(filters: Iterable[FilterInput]) -> tuple[Filter, ...]:
    """Return the conditions."""
    return tuple(each.filter() for each in filters)


class DocumentChoice(JobInput):
    """Which documents a job reads: those named, those found, or all of a collection.

    Attributes:
        collection: where they are.
        document_ids: these, in this order; empty means that they are not named.
        filters: only those whose metadata fits.
        query: only those that are found by this; best first.
        most_documents: how many at most.
    """

    collection: CollectionName = "default"
    document_ids: tuple[DocumentId, ...] = Field(default=(), max_length=1_000)
    filters: Filters = ()
    query: Annotated[str, StringConstraints(max_length=8_000)] = ""
    most_documents: int = Field(default=100, ge=1, le=1_000)

    @model_validator(mode="after")
    def _names_or_finds(self) -> DocumentChoice:
        if self.document_ids and self.query:
            raise ValueError("document_ids and query: only one of them can be given")
        return self


class Row(JobInput):
    """One row; its id names its item, and is its place from 0 by default."""

    text: RowText
    id: Annotated[str, StringConstraints(max_length=128)] = ""


Rows = tuple[Row | RowText, ...]


def keyed(rows: Rows) -> dict[str, str]:
    """Return the rows' texts by the keys of their items, in their order.

    Raises:
        ValueError: two rows have the same key.
    """
    texts: dict[str, str] = {}
    for place, row in enumerate(rows):
        key, text = (row.id or str(place), row.text) if isinstance(row, Row) else (str(place), row)
        if key in texts:
            raise ValueError(f"rows: two have the id {key!r}")
        texts[key] = text
    return texts


def has_choice(choice: DocumentChoice) -> bool:
    """Return whether documents are chosen in any way."""
    chosen: dict[str, Any] = choice.model_dump(include=set(DocumentChoice.model_fields))
    return chosen != DocumentChoice().model_dump()
