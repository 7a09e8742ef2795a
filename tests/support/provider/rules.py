"""What the API refuses: the rules that a prompt's layout could break."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.provider.writing import search_results

_MAX_BREAKPOINTS = 4
# The values of `thinking.type` that a model refuses; others take all of the rest.
_REFUSED_THINKING = {
    "claude-opus-5-5": {"disabled", "enabled", "between_tools"},
    "claude-sonnet-5-5": {"disabled", "enabled"},
    "claude-haiku-5-5": {"enabled", "between_tools"},
}


def problem(request: Mapping[str, Any]) -> str | None:
    """Return why a request is invalid, or None if it is not."""
    for name in ("model", "max_tokens", "messages"):
        if not request.get(name):
            return f"{name}: Field required"
    if request["messages"][-1]["role"] != "user":
        return "messages: the conversation must end with a user message"
    thinking = request.get("thinking", {}).get("type", "")
    if thinking in _REFUSED_THINKING.get(request["model"], ()):
        return f'"thinking.type.{thinking}" is not supported for this model'
    if any(not text.strip() for text in _texts(request)):
        return "messages: text content blocks must contain non-whitespace text"
    if str(request).count("'cache_control'") > _MAX_BREAKPOINTS:
        return f"a maximum of {_MAX_BREAKPOINTS} blocks with cache_control may be provided"
    return _citation_problem(request)


def _citation_problem(request: Mapping[str, Any]) -> str | None:
    enabled = {
        result.get("citations", {}).get("enabled", False) for result in search_results(request)
    }
    if len(enabled) > 1:
        return "citations must be enabled for all search results or for none"
    if True in enabled and "format" in request.get("output_config", {}):
        return "citations cannot be used with output_config.format"
    return None


def _texts(request: Mapping[str, Any]) -> Iterator[str]:
    for part in (request.get("system", ()), *(each["content"] for each in request["messages"])):
        if isinstance(part, str):
            yield part
            continue
        for block in part:
            inner = block["content"] if block["type"] == "search_result" else [block]
            yield from (each["text"] for each in inner)
