"""What the API refuses: the rules that a prompt's layout could break."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.provider.prefixes import TTLS_S, prompt_blocks
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
        if request.get(name) in (None, "", []):
            return f"{name}: Field required"
    if request["max_tokens"] == 0 and (wrong := _warming_problem(request)):
        return wrong
    if request["messages"][-1]["role"] != "user":
        return "messages: the conversation must end with a user message"
    thinking = request.get("thinking", {}).get("type", "")
    if thinking in _REFUSED_THINKING.get(request["model"], ()):
        return f'"thinking.type.{thinking}" is not supported for this model'
    if any(not text.strip() for text in _texts(request)):
        return "messages: text content blocks must contain non-whitespace text"
    return _breakpoint_problem(request) or _citation_problem(request)


def _warming_problem(request: Mapping[str, Any]) -> str | None:
    """Return what cannot be had of a request that only fills the prompt cache."""
    if request.get("stream"):
        return "max_tokens: 0 cannot be used with stream"
    if "format" in request.get("output_config", {}):
        return "max_tokens: 0 cannot be used with output_config.format"
    return None


def _breakpoint_problem(request: Mapping[str, Any]) -> str | None:
    ttls = [block.ttl for block in prompt_blocks(request) if block.ttl]
    if len(ttls) > _MAX_BREAKPOINTS:
        return f"a maximum of {_MAX_BREAKPOINTS} blocks with cache_control may be provided"
    if unknown := set(ttls) - TTLS_S.keys():
        return f"cache_control.ttl: {unknown.pop()!r} is neither '5m' nor '1h'"
    # As words, too, an hour comes before five minutes.
    if ttls != sorted(ttls):
        return "a ttl='1h' cache_control block must not come after a ttl='5m' one"
    return None


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
