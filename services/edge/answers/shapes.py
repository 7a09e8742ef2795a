"""What answers look like in JSON, for the OpenAPI document; a test compares it with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

from libs.values import AnswerState, CacheLayer, FinishReason, Quality
from libs.values.account import PieceKind

Shape = dict[str, Any]

TEXT: Shape = {"type": "string"}
WHOLE: Shape = {"type": "integer"}
NUMBER: Shape = {"type": "number"}
FLAG: Shape = {"type": "boolean"}


def record(**members: Mapping[str, Any]) -> Shape:
    """Return the schema of an object that has all these members and no others."""
    return {
        "type": "object",
        "required": list(members),
        "additionalProperties": False,
        "properties": members,
    }


def nullable(shape: Shape) -> Shape:
    """Return a schema that admits null as well."""
    return {"anyOf": [shape, {"type": "null"}]}


def _many(shape: Shape) -> Shape:
    return {"type": "array", "items": shape}


def _one_of(members: Iterable[IntEnum]) -> Shape:
    return {"enum": [each.name.lower() for each in members]}


_PASSAGE = record(
    passage_id=TEXT,
    document_id=TEXT,
    document_version=WHOLE,
    title=TEXT,
    heading=TEXT,
    text=TEXT,
    start_offset=WHOLE,
    end_offset=WHOLE,
    uri=TEXT,
    score=NUMBER,
)
_CITATION = record(
    source_index=WHOLE,
    document_id=TEXT,
    cited_text=TEXT,
    start_offset=WHOLE,
    end_offset=WHOLE,
    answer_offset=WHOLE,
    section_id=TEXT,
)
_CACHE = record(
    layer=_one_of(CacheLayer),
    similarity=NUMBER,
    age_s=NUMBER,
    entry_id=TEXT,
    stale=FLAG,
    refresh_run_id=nullable(TEXT),
    index_version=nullable(WHOLE),
)
_USAGE = record(
    input_tokens=WHOLE, output_tokens=WHOLE, cache_read_tokens=WHOLE, cache_write_tokens=WHOLE
)
_HOP = record(
    hop=TEXT,
    start_ms=NUMBER,
    granted_ms=NUMBER,
    used_ms=NUMBER,
    queue_ms=NUMBER,
    compute_ms=NUMBER,
    model_ms=NUMBER,
    network_ms=NUMBER,
    slack_ms=NUMBER,
    outcome=nullable(TEXT),
    skipped=nullable(TEXT),
)
_PIECE = record(hop=TEXT, kind=_one_of(PieceKind), start_ms=NUMBER, length_ms=NUMBER)
_LATENCY = record(
    total_ms=NUMBER,
    first_text_ms=nullable(NUMBER),
    budget_ms=nullable(NUMBER),
    deadline_ms=nullable(NUMBER),
    unattributed_ms=NUMBER,
    hops=_many(_HOP),
    pieces=_many(_PIECE),
)
_SO_FAR: Shape = {
    "answer": TEXT,
    "citations": _many(_CITATION),
    "sources": _many(_PASSAGE),
    "trace_id": TEXT,
    "run_id": TEXT,
}
ANSWER_MEMBERS: Shape = {
    **_SO_FAR,
    "quality": _one_of(Quality),
    "finish_reason": _one_of(FinishReason),
    "answer_state": _one_of(AnswerState),
    "degradations": _many(record(hop=TEXT, reason=TEXT)),
    "cache": nullable(_CACHE),
    "followed_run_id": nullable(TEXT),
    "job_id": nullable(TEXT),
    "model": TEXT,
    "usage": nullable(_USAGE),
    "latency": _LATENCY,
}
ANSWER = record(**ANSWER_MEMBERS)
RUN: Shape = {
    "oneOf": [
        record(state={"const": "running"}, last_event_id=WHOLE, **_SO_FAR),
        record(state={"const": "ended"}, last_event_id=WHOLE, **ANSWER_MEMBERS),
    ]
}
