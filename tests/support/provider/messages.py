"""The JSON of the Messages API, from the blocks of an answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.support.provider.calls import Call
from tests.support.provider.writing import Block


def within(blocks: Iterable[Block], max_tokens: int, stop_reason: str) -> tuple[list[Block], str]:
    """Return the blocks that a token limit leaves, and how the answer then ends."""
    kept: list[Block] = []
    for block in blocks:
        room = max_tokens - sum(len(each.pieces) for each in kept)
        if len(block.pieces) > room:
            return [*kept, Block(block.pieces[:room])], "max_tokens"
        kept.append(block)
    return kept, stop_reason


def usage_of(call: Call, output_tokens: int) -> dict[str, Any]:
    """Return the token counts as a response states them."""
    assert call.usage is not None
    return {**call.usage.members(), "output_tokens": output_tokens}


def message_of(call: Call, request: Any, **fields: Any) -> dict[str, Any]:
    """Return a message that is empty but for `fields`."""
    return {
        "id": call.message_id,
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "diagnostics": _diagnostics(call),
        **fields,
    }


def _diagnostics(call: Call) -> dict[str, Any] | None:
    return None if call.miss_reason is None else {"cache_miss_reason": call.miss_reason}


def whole_message(
    call: Call, request: Any, blocks: list[Block], stop_reason: str
) -> dict[str, Any]:
    """Return an answer in one piece."""
    content = [
        {
            "type": "text",
            "text": block.text,
            "citations": [block.citation] if block.citation else None,
        }
        for block in blocks
    ]
    tokens = sum(len(block.pieces) for block in blocks)
    usage = usage_of(call, tokens)
    return message_of(call, request, content=content, stop_reason=stop_reason, usage=usage)


def error_of(kind: str, message: str) -> dict[str, str]:
    """Return an error as bodies and events hold it."""
    return {"type": kind, "message": message}
