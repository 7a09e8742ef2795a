"""What the simulated provider says as the OpenAI chat completions API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.provider.calls import Call
from tests.support.provider.writing import pieces, prose, sample

_PART = re.compile(r"^\[(\d+)\] ", re.MULTILINE)
_LIMITS = ("max_tokens", "max_completion_tokens")


def completion_problem(request: Mapping[str, Any]) -> str | None:
    """Return why a request is invalid, or None if it is not."""
    for name in ("model", "messages"):
        if not request.get(name):
            return f"{name}: Field required"
    if not request.get("stream"):
        return "stream: this server only streams"
    return None


def completion_pieces(request: Mapping[str, Any], number: int, words: int, cites: int) -> list[str]:
    """Return the pieces of an answer: words, then the numbers of the last parts it was given."""
    if wanted := request.get("response_format"):
        schema = wanted["json_schema"]["schema"]
        return list(pieces(json.dumps(sample(schema, schema))))
    texts = [each["content"] for each in request["messages"] if each["role"] == "user"]
    numbers = _PART.findall(texts[0])
    # Cut where a stream may cut: inside of the brackets.
    cited = [piece for each in numbers[-cites:] for piece in (" [", each, "]")] if cites else []
    return [*pieces(prose(number, words)), *cited]


def limit_of(request: Mapping[str, Any]) -> int:
    """Return how many pieces an answer may have."""
    return next((int(request[name]) for name in _LIMITS if name in request), 1 << 30)


def chunk_of(call: Call, request: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a chunk of a stream."""
    return {
        "id": f"chatcmpl-{call.number}",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": request["model"],
        "choices": [],
        **fields,
    }


def choice_of(text: str = "", stop_reason: str | None = None) -> list[dict[str, Any]]:
    """Return the choices of a chunk."""
    delta = {"content": text} if text else {}
    return [{"index": 0, "delta": delta, "finish_reason": stop_reason}]


def usage_chunk(call: Call, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the chunk with the usage, if it is asked for."""
    if not request.get("stream_options", {}).get("include_usage"):
        return
    assert call.usage is not None
    usage = {
        "prompt_tokens": call.usage.tokens,
        "completion_tokens": call.pieces,
        "total_tokens": call.usage.tokens + call.pieces,
        "prompt_tokens_details": {"cached_tokens": call.usage.read},
    }
    yield chunk_of(call, request, usage=usage)
