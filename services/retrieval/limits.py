"""What the contract lets a field hold; each check names the field and its limit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from libs.errors import InvalidFieldError
from libs.values import Filter
from libs.values.retrieval import Document, SearchQuery, TextFormat

MAX_LIMIT = 100
MAX_PAGE = 1_000
# How far from 1 the length of a normalised float32 vector may be.
_NORM_TOLERANCE = 0.01
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def check_names(tenant_id: str, collection: str) -> None:
    """Check whose collection it is, and its name."""
    if tenant_id == "*":
        raise InvalidFieldError("tenant_id", "must be one tenant, not '*'")
    if not _NAME.fullmatch(collection):
        problem = "must be 1 to 64 characters of letters, digits, '-', '_' and '.'"
        raise InvalidFieldError("collection", problem, length=len(collection))


def check_query(query: SearchQuery) -> None:
    """Check all of a question but its vector."""
    check_names(query.tenant_id, query.collection)
    _check_length("question", query.question, 1, 8_000)
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidFieldError("limit", f"must be 1 to {MAX_LIMIT}, is {query.limit}")
    _check_count("filters", query.filters, 0, 16)
    for number, each in enumerate(query.filters):
        _check_filter(f"filters[{number}]", each)


def vector_of(query: SearchQuery) -> NDArray[np.float32] | None:
    """Return the question's vector; None if it has none."""
    if not query.embedding:
        return None
    if not query.embedding_fingerprint:
        raise InvalidFieldError("embedding_fingerprint", "is required with embedding")
    if len(query.embedding) % 4:
        problem = f"must be packed float32, has {len(query.embedding)} bytes"
        raise InvalidFieldError("embedding", problem)
    vector = np.frombuffer(query.embedding, "<f4").astype(np.float32)
    length = float(np.linalg.norm(vector.astype(np.float64)))
    # Written so that a length that is no number fails as well.
    if not abs(length - 1) <= _NORM_TOLERANCE:
        problem = f"must be L2-normalised, has length {length:.3f}"
        raise InvalidFieldError("embedding", problem)
    return vector


def check_documents(documents: Sequence[Document]) -> None:
    """Check what is to be stored."""
    _check_count("documents", documents, 1, 64)
    seen: set[str] = set()
    for number, each in enumerate(documents):
        field = f"documents[{number}]"
        _check_document(field, each)
        if each.document_id in seen:
            problem = f"must differ from the others, {each.document_id!r} comes twice"
            raise InvalidFieldError(f"{field}.document_id", problem)
        seen.add(each.document_id)


def check_ids(document_ids: Sequence[str]) -> None:
    """Check what is to be deleted."""
    _check_count("document_ids", document_ids, 1, 1_000)
    for number, each in enumerate(document_ids):
        if not each:
            raise InvalidFieldError(f"document_ids[{number}]", "must not be empty")


def check_id(document_id: str) -> None:
    """Check what is to be returned."""
    _check_length("document_id", document_id, 1, 512)


def check_page(page_size: int) -> None:
    """Check how much is to be listed."""
    if not 1 <= page_size <= MAX_PAGE:
        raise InvalidFieldError("page_size", f"must be 1 to {MAX_PAGE}, is {page_size}")


def check_position(after_version: int) -> None:
    """Check where a watcher starts."""
    if after_version < 0:
        raise InvalidFieldError("after_version", f"must be at least 0, is {after_version}")


def _check_document(field: str, document: Document) -> None:
    _check_length(f"{field}.document_id", document.document_id, 1, 512)
    _check_length(f"{field}.title", document.title, 0, 512)
    _check_length(f"{field}.text", document.text, 1, 2_000_000)
    if document.format is TextFormat.UNSPECIFIED:
        raise InvalidFieldError(f"{field}.format", "must be PLAIN or MARKDOWN")
    _check_length(f"{field}.uri", document.uri, 0, 2_048)
    _check_count(f"{field}.metadata", document.metadata, 0, 32)
    for key, value in document.metadata.items():
        if not 1 <= len(key) <= 64:  # noqa: PLR2004 - the contract's number, said beside it
            problem = f"keys must have 1 to 64 characters, one has {len(key)}"
            raise InvalidFieldError(f"{field}.metadata", problem)
        _check_length(f'{field}.metadata["{key}"]', value, 0, 256)


def _check_filter(field: str, condition: Filter) -> None:
    _check_length(f"{field}.key", condition.key, 1, 64)
    _check_count(f"{field}.any_of", condition.any_of, 1, 32)
    for number, each in enumerate(condition.any_of):
        _check_length(f"{field}.any_of[{number}]", each, 0, 256)


def _check_length(field: str, text: str, least: int, most: int) -> None:
    if not least <= len(text) <= most:
        wanted = f"{least} to {most}" if least else f"at most {most}"
        problem = f"must have {wanted} characters, has {len(text)}"
        raise InvalidFieldError(field, problem, limit=most, got=len(text))


def _check_count(field: str, values: Iterable[object], least: int, most: int) -> None:
    count = len(list(values))
    if not least <= count <= most:
        wanted = f"{least} to {most}" if least else f"at most {most}"
        raise InvalidFieldError(field, f"must have {wanted}, has {count}", limit=most, got=count)
