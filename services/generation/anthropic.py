"""The engine behind which the Anthropic API, or what speaks like it, writes."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import anthropic
import httpx2
from anthropic.types import (
    CitationsDelta,
    CitationsSearchResultLocation,
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

from libs.errors import (
    MeshError,
    ModelInterruptedError,
    ModelOverloadedError,
    ModelUnavailableError,
)
from libs.values import Citation, FinishReason, TextDelta, Usage
from libs.values.generation import Model, Prompt
from services.generation.engine import Finished, Piece
from services.generation.layout import Source, citation_of, laid_out

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
# Said when the provider does not say when to come back.
_RETRY_AFTER_S = 1.0
_LOGGED_CHARS = 300


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How one model is asked.

    Attributes:
        max_output_tokens: what an answer may have, if the prompt says nothing else.
        thinking: `thinking.type` of the request; empty leaves it out.
        effort: `output_config.effort` of the request; empty leaves it out.
        retry_after_limit_s: longest wait that is passed on to callers.
    """

    max_output_tokens: int = 1024
    thinking: str = ""
    effort: str = ""
    retry_after_limit_s: float = 30.0


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

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """Yield text as it comes, and the citations of a block at its end."""
        layout = laid_out(prompt)
        reading = _Reading(layout.sources)
        try:
            async with await self._client.messages.create(
                **self._request(prompt, layout.body), stream=True
            ) as events:
                async for event in events:
                    for piece in reading.pieces_of(event):
                        yield piece
        except (anthropic.AnthropicError, httpx2.HTTPError, ValueError) as error:
            raise self._translated(error, has_text=reading.has_text) from error
        if not reading.is_finished:
            raise _failure(f"{self.model.name}: the stream ended early", has_text=reading.has_text)

    def _request(self, prompt: Prompt, body: dict[str, Any]) -> dict[str, Any]:
        settings = self._settings
        request = {
            **body,
            "model": self.model.name,
            "max_tokens": prompt.max_output_tokens or settings.max_output_tokens,
        }
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
            return _failure(f"{self.model.name}: {type(error).__name__}", has_text=has_text)
        said = (error.api_message or "")[:_LOGGED_CHARS]
        _LOG.warning("%s: %s %s: %s", self.model.name, error.status_code, error.type, said)
        message = f"{self.model.name}: the provider answered {error.status_code} {error.type}"
        full = error.status_code in _FULL_STATUSES or error.type in _FULL_TYPES
        if full and not has_text:
            wait_s = min(retry_after_s(error.response.headers), self._settings.retry_after_limit_s)
            return ModelOverloadedError(message, retry_after_s=wait_s)
        return _failure(message, has_text=has_text)


def _failure(message: str, *, has_text: bool) -> MeshError:
    return ModelInterruptedError(message) if has_text else ModelUnavailableError(message)


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the seconds that `Retry-After` asks for, in either of its forms; 1 if it does not."""
    said = headers.get("retry-after", "")
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(said)
    except ValueError:
        return _RETRY_AFTER_S
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


class _Reading:
    """The events of one stream, read into pieces."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
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
                self._count(message.usage)
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
                self._count(usage)
                self._stop_reason = delta.stop_reason or ""
            case RawMessageStopEvent(type="message_stop"):
                self.is_finished = True
                yield Finished(self._finish_reason(), self._usage)

    def _citations(self) -> Iterator[Citation]:
        # They support the whole block, so they stand at its end.
        for location in self._cited:
            citation = citation_of(self._sources, location, self._written_chars)
            if citation is not None:
                yield citation
        self._cited.clear()

    def _count(self, said: ProviderUsage | MessageDeltaUsage) -> None:
        """Take the counts said, which are totals so far; None leaves the last one."""
        before = self._usage
        self._usage = Usage(
            _latest(said.input_tokens, before.input_tokens),
            _latest(said.output_tokens, before.output_tokens),
            _latest(said.cache_read_input_tokens, before.cache_read_tokens),
            _latest(said.cache_creation_input_tokens, before.cache_write_tokens),
        )

    def _finish_reason(self) -> FinishReason:
        reason = _STOPPED.get(self._stop_reason, FinishReason.INTERRUPTED)
        if reason.is_whole and not self.has_text:
            return FinishReason.NO_ANSWER
        return reason


def _latest(said: int | None, before: int) -> int:
    return before if said is None else said
