"""The engine behind which the Anthropic API, or what speaks like it, writes."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import anthropic
import httpx2
from anthropic.types import (
    CitationsDelta,
    CitationsSearchResultLocation,
    Message,
    MessageDeltaUsage,
    RawContentBlockDeltaEvent,
    RawContentBlockStopEvent,
    RawMessageDeltaEvent,
    RawMessageStartEvent,
    RawMessageStopEvent,
    RawMessageStreamEvent,
)
from anthropic.types import TextDelta as AnthropicTextDelta
from anthropic.types import Usage as ProviderUsage

from libs.errors import MeshError, ModelOverloadedError
from libs.values import Citation, FinishReason, TextDelta, Usage
from libs.values.generation import Model, Prompt
from services.generation.engine import Finished, Piece
from services.generation.failures import failure, retry_after_s
from services.generation.layout import Layout, laid_out, start_of
from services.generation.marks import PrefixSettings
from services.generation.prefix import Entered, Prefixes

_LOG = logging.getLogger(__name__)
_STOPPED = {
    "end_turn": FinishReason.END_TURN,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "max_tokens": FinishReason.MAX_TOKENS,
    "model_context_window_exceeded": FinishReason.MAX_TOKENS,
    "refusal": FinishReason.REFUSAL,
}
# No capacity: 429 is our quota, 529 the provider's load; in mid-stream only the type says so.
_FULL_STATUSES = frozenset({429, 529})
_FULL_TYPES = frozenset({"overloaded_error", "rate_limit_error"})
_LOGGED_CHARS = 300


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How one model is asked.

    Attributes:
        max_output_tokens: what an answer may have, if the prompt says nothing else.
        thinking: `thinking.type` of the request; empty leaves it out.
        effort: `output_config.effort` of the request; empty leaves it out.
        retry_after_limit_s: longest wait that is passed on to callers.
        prefix: how the provider's prompt cache is used.
    """

    max_output_tokens: int = 1024
    thinking: str = ""
    effort: str = ""
    retry_after_limit_s: float = 30.0
    prefix: PrefixSettings = field(default_factory=PrefixSettings)


def open_client(
    api_key: str, *, base_url: str | None, connect_limit_s: float, max_connections: int
) -> anthropic.AsyncAnthropic:
    """Return a client without clocks or retries of its own; it reads files, so use a thread."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=max_connections)
    timeout = httpx2.Timeout(None, connect=connect_limit_s)
    client = anthropic.AsyncAnthropic(
        api_key=api_key,
        base_url=base_url,
        max_retries=0,
        timeout=timeout,
        http_client=anthropic.DefaultAsyncHttpxClient(limits=limits, timeout=timeout),
        # Spans are ours, and the provider learns nothing of our traces.
        open_telemetry=False,
    )
    # Imports the part that is used; on the first call it would block the loop.
    _ = client.messages
    return client


class AnthropicEngine:
    """Streams answers from one model, with the provider's own citations."""

    waits_for_provider = True

    def __init__(
        self, client: anthropic.AsyncAnthropic, model: Model, settings: ModelSettings
    ) -> None:
        self.model = model
        self._client = client
        self._settings = settings
        self._prefixes = Prefixes(model.name, settings.prefix)

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """Yield text as it comes, and the citations of a block at its end."""
        marks = self._prefixes.marks(prompt)
        layout = laid_out(prompt, marks)
        async with self._prefixes.entered(prompt, marks) as entered:
            reading = _Reading(layout, entered)
            try:
                async with await self._client.messages.create(
                    **self._request(prompt, layout.body, entered), stream=True
                ) as events:
                    async for event in events:
                        for piece in reading.pieces_of(event):
                            yield piece
            except (anthropic.AnthropicError, httpx2.HTTPError, ValueError) as error:
                raise self._translated(error, has_text=reading.has_text) from error
        if not reading.is_finished:
            raise failure(f"{self.model.name}: the stream ended early", has_text=reading.has_text)

    async def warm(self, prompt: Prompt) -> Usage:
        """Have the start of a prompt cached; one that is being cached already is waited for."""
        marks = self._prefixes.marks(prompt)
        if not (marks.any and (prompt.documents or prompt.system.strip())):
            return Usage()
        body = start_of(prompt, marks)
        prompt = replace(prompt, first_text_limit_s=float("inf"))
        async with self._prefixes.entered(prompt, marks) as entered:
            request = self._request(prompt, body, entered) | {"max_tokens": 0}
            try:
                message = await self._client.messages.create(**request)
            except (anthropic.AnthropicError, httpx2.HTTPError, ValueError) as error:
                raise self._translated(error, has_text=False) from error
            usage = _usage(Usage(), message.usage)
            entered.began(usage, message.id, _miss_reason(message))
            return usage

    def _request(self, prompt: Prompt, body: dict[str, Any], entered: Entered) -> dict[str, Any]:
        settings = self._settings
        request = {
            **body,
            "model": self.model.name,
            "max_tokens": prompt.max_output_tokens or settings.max_output_tokens,
        }
        if self._prefixes.diagnoses:
            request["diagnostics"] = {"previous_message_id": entered.previous_message_id}
        if settings.thinking:
            request["thinking"] = {"type": settings.thinking}
        if settings.effort:
            request["output_config"] = {
                **body.get("output_config", {}),
                "effort": settings.effort,
            }
        return request

    def _translated(self, error: Exception, *, has_text: bool) -> MeshError:
        """Return what an error of the SDK means; what the provider says of it goes to the log."""
        if not isinstance(error, anthropic.APIStatusError):
            _LOG.warning("%s: %s", self.model.name, type(error).__name__)
            return failure(f"{self.model.name}: {type(error).__name__}", has_text=has_text)
        said = (error.api_message or "")[:_LOGGED_CHARS]
        _LOG.warning("%s: %s %s: %s", self.model.name, error.status_code, error.type, said)
        message = f"{self.model.name}: the provider answered {error.status_code} {error.type}"
        full = error.status_code in _FULL_STATUSES or error.type in _FULL_TYPES
        if full and not has_text:
            wait_s = min(retry_after_s(error.response.headers), self._settings.retry_after_limit_s)
            return ModelOverloadedError(message, retry_after_s=wait_s)
        return failure(message, has_text=has_text)


class _Reading:
    """The events of one stream, read into pieces."""

    def __init__(self, layout: Layout, entered: Entered) -> None:
        self._layout = layout
        self._entered = entered
        self._written_chars = 0
        self._cited: list[CitationsSearchResultLocation] = []
        self._usage = Usage()
        self._stop_reason = ""
        self.is_finished = False

    @property
    def has_text(self) -> bool:
        return self._written_chars > 0

    def pieces_of(self, event: RawMessageStreamEvent) -> Iterator[Piece]:
        """Yield what an event adds; thinking and unknown kinds add nothing."""
        # The SDK makes an unknown kind look like the first one it knows: only `type` tells.
        match event:
            case RawMessageStartEvent(type="message_start", message=message):
                self._usage = _usage(self._usage, message.usage)
                self._entered.began(self._usage, message.id, _miss_reason(message))
                yield self._usage
            case RawContentBlockDeltaEvent(
                delta=AnthropicTextDelta(type="text_delta", text=text)
            ) if text:
                self._written_chars += len(text)
                yield TextDelta(text)
            case RawContentBlockDeltaEvent(
                delta=CitationsDelta(
                    citation=CitationsSearchResultLocation(type="search_result_location") as place
                )
            ):
                self._cited.append(place)
            case RawContentBlockStopEvent(type="content_block_stop"):
                yield from self._citations()
            case RawMessageDeltaEvent(type="message_delta", delta=delta, usage=usage):
                self._usage = _usage(self._usage, usage)
                self._stop_reason = delta.stop_reason or ""
            case RawMessageStopEvent(type="message_stop"):
                self.is_finished = True
                yield Finished(self._finish_reason(), self._usage)

    def _citations(self) -> Iterator[Citation]:
        # They support the whole block, so they stand at its end.
        for location in self._cited:
            citation = self._layout.citation_of(location, self._written_chars)
            if citation is not None:
                yield citation
        self._cited.clear()

    def _finish_reason(self) -> FinishReason:
        reason = _STOPPED.get(self._stop_reason, FinishReason.INTERRUPTED)
        if reason.is_whole and not self.has_text:
            return FinishReason.NO_ANSWER
        return reason


def _usage(before: Usage, said: ProviderUsage | MessageDeltaUsage) -> Usage:
    """Return the counts said, which are totals so far; None leaves the last one."""
    return Usage(
        _latest(said.input_tokens, before.input_tokens),
        _latest(said.output_tokens, before.output_tokens),
        _latest(said.cache_read_input_tokens, before.cache_read_tokens),
        _latest(said.cache_creation_input_tokens, before.cache_write_tokens),
    )


def _miss_reason(message: Message) -> str:
    """Return why nothing was read of the prompt cache, if the provider says."""
    diagnosis = message.diagnostics
    if diagnosis is None or diagnosis.cache_miss_reason is None:
        return ""
    return diagnosis.cache_miss_reason.type


def _latest(said: int | None, before: int) -> int:
    return before if said is None else said
