"""What an answer is in OpenAI's chat completions."""

from __future__ import annotations

import json
from typing import Any

from libs.values import AnswerState, Completed, FinishReason, Usage
from libs.values.answer_json import WholeAnswer

DONE = b"data: [DONE]\n\n"
KEPT = (
    "run_id",
    "trace_id",
    "sources",
    "citations",
    "cache",
    "quality",
    "answer_state",
    "finish_reason",
    "degradations",
    "job_id",
    "latency",
)
"""What of an answer goes into the extension field."""
_FINISHES = {
    FinishReason.END_TURN: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.NO_ANSWER: "stop",
    FinishReason.REFUSAL: "content_filter",
}


class Saying:
    """One answer as a completion, or as the chunks of one.

    Args:
        model: its name, as it was asked for.
        created_s: when it was asked for, in seconds since 1970.
        unused: what of the request had no effect.
        wants_usage: True if the last chunk is to say what was used.
    """

    def __init__(
        self, model: str, created_s: int, unused: list[str], *, wants_usage: bool = False
    ) -> None:
        self.answer = WholeAnswer()
        self._model = model
        self._created_s = created_s
        self._unused = unused
        self._wants_usage = wants_usage

    def completion(self, completed: Completed) -> dict[str, Any]:
        """Return the whole answer."""
        message = {"role": "assistant", "content": self.answer.text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": _finish(completed),
        }
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": _usage(completed.usage),
            "hasten": self._extension(completed),
        }

    def first(self) -> bytes:
        """Return the chunk that says who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> bytes:
        """Return a chunk with a piece of the text."""
        return self._chunk({"content": text})

    def end(self, completed: Completed) -> bytes:
        """Return the last chunks; nothing follows."""
        last = self._chunk({}, _finish(completed), {"hasten": self._extension(completed)})
        return last + self._used(completed) + DONE

    def _used(self, completed: Completed) -> bytes:
        if not self._wants_usage:
            return b""
        head = self._head("chat.completion.chunk")
        return _data({**head, "choices": [], "usage": _usage(completed.usage)})

    def _chunk(
        self, delta: dict[str, Any], finish: str | None = None, more: dict[str, Any] | None = None
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        usage = {"usage": None} if self._wants_usage else {}
        head = self._head("chat.completion.chunk")
        return _data({**head, "choices": [choice], **usage, **(more or {})})

    def _head(self, kind: str) -> dict[str, Any]:
        plan = self.answer.plan
        return {
            "id": f"chatcmpl-{plan.run_id if plan else ''}",
            "object": kind,
            "created": self._created_s,
            "model": self._model,
        }

    def _extension(self, completed: Completed) -> dict[str, Any]:
        members = self.answer.members(completed)
        return {**{name: members[name] for name in KEPT}, "unused": self._unused}


def _finish(completed: Completed) -> str:
    if completed.answer_state is AnswerState.REFUSED:
        return "content_filter"
    if completed.answer_state is AnswerState.DEFERRED:
        return "length"
    # Time, tokens, a caller or a fault ended it: the text is not whole.
    return _FINISHES.get(completed.finish_reason, "length")


def _usage(usage: Usage | None) -> dict[str, Any]:
    """Return what was used; a stored answer used nothing."""
    used = usage or Usage()
    # OpenAI counts what its prompt cache had among the tokens of the prompt.
    prompt = used.input_tokens + used.cache_read_tokens + used.cache_write_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": used.output_tokens,
        "total_tokens": prompt + used.output_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cache_read_tokens},
    }


def _data(members: dict[str, Any]) -> bytes:
    data = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
    return f"data: {data}\n\n".encode()
