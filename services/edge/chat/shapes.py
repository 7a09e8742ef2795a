"""What chat completions look like, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.edge.answers.shapes import ANSWER_MEMBERS, TEXT, WHOLE, nullable, record
from services.edge.chat.saying import KEPT

_USAGE = record(
    prompt_tokens=WHOLE,
    completion_tokens=WHOLE,
    total_tokens=WHOLE,
    prompt_tokens_details=record(cached_tokens=WHOLE),
)
_HASTEN = record(
    **{name: ANSWER_MEMBERS[name] for name in KEPT}, unused={"type": "array", "items": TEXT}
)
_FINISH = {"enum": ["stop", "length", "content_filter"]}
_MESSAGE = record(role={"const": "assistant"}, content=TEXT, refusal=nullable(TEXT))
_CHOICE = record(index=WHOLE, message=_MESSAGE, logprobs={"type": "null"}, finish_reason=_FINISH)
COMPLETION: Mapping[str, Any] = record(
    id=TEXT,
    object={"const": "chat.completion"},
    created=WHOLE,
    model=TEXT,
    choices={"type": "array", "items": _CHOICE, "minItems": 1, "maxItems": 1},
    usage=_USAGE,
    hasten=_HASTEN,
)
CHUNKS: Mapping[str, Any] = {
    **record(data=TEXT),
    "description": "A server-sent event: a chunk as JSON, or an error; the last is `[DONE]`.",
}
MODEL: Mapping[str, Any] = record(id=TEXT, object={"const": "model"}, created=WHOLE, owned_by=TEXT)
MODELS: Mapping[str, Any] = record(object={"const": "list"}, data={"type": "array", "items": MODEL})
