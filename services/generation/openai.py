"""The engine behind which any server of the OpenAI chat completions API writes."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2

from libs.errors import MeshError, ModelOverloadedError
from libs.values import FinishReason, Usage
from libs.values.generation import Model, Prompt
from services.generation.chat import ChatLayout, Markers, laid_out, response_format
from services.generation.engine import Finished, Piece
from services.generation.failures import failure, retry_after_s
from services.generation.marks import PrefixSettings
from services.generation.prefix import Entered, Prefixes

_LOG = logging.getLogger(__name__)
_STOPPED = {
    "stop": FinishReason.END_TURN,
    "length": FinishReason.MAX_TOKENS,
    "content_filter": FinishReason.REFUSAL,
}
_OK = 200
# No capacity: 429 is our quota, 503 the server's load.
_FULL_STATUSES = frozenset({429, 503})
_LOGGED_CHARS = 300
_DATA = "data:"
_DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """How one model is asked.

    Attributes:
        max_output_tokens: what an answer may have, if the prompt says nothing else.
        limit_field: the field that says so; servers differ.
        retry_after_limit_s: longest wait that is passed on to callers.
        prefix: how the provider's prompt cache is used.
    """

    max_output_tokens: int = 1024
    limit_field: str = "max_tokens"
    retry_after_limit_s: float = 30.0
    prefix: PrefixSettings = field(default_factory=lambda: PrefixSettings(is_automatic=True))


def open_client(
    api_key: str, *, base_url: str, connect_limit_s: float, max_connections: int
) -> httpx2.AsyncClient:
    """Return a client without clocks of its own; it reads files, so use a thread."""
    return httpx2.AsyncClient(
        base_url=base_url,
        headers={"authorization": f"Bearer {api_key}"} if api_key else {},
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=max_connections),
        timeout=httpx2.Timeout(None, connect=connect_limit_s),
    )


class OpenAIEngine:
    """Streams answers from one model; citations are numbers that it was asked to write."""

    waits_for_provider = True

    def __init__(self, client: httpx2.AsyncClient, model: Model, settings: ChatSettings) -> None:
        self.model = model
        self._client = client
        self._settings = settings
        self._prefixes = Prefixes(model.name, settings.prefix)

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """Yield text and citations as they come."""
        layout = laid_out(prompt)
        async with self._prefixes.entered(prompt, self._prefixes.marks(prompt)) as entered:
            reading = _Reading(layout, entered)
            try:
                async with aclosing(self._lines(self._request(prompt, layout))) as lines:
                    async for line in lines:
                        for piece in reading.pieces_of(line):
                            yield piece
            except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
                name = f"{self.model.name}: {type(error).__name__}"
                _LOG.warning("%s", name)
                raise failure(name, has_text=reading.has_text) from error
            except _SaidError as error:
                _LOG.warning("%s: %s", self.model.name, error)
                message = f"{self.model.name}: the provider sent an error"
                raise failure(message, has_text=reading.has_text) from error
        if not reading.is_finished:
            raise failure(f"{self.model.name}: the stream ended early", has_text=reading.has_text)

    async def warm(self, prompt: Prompt) -> Usage:
        """Have the start of a prompt read; one token is the least that can be asked for."""
        if not (self._prefixes.marks(prompt).sources and prompt.documents):
            return Usage()
        prompt = replace(prompt, first_text_limit_s=float("inf"), max_output_tokens=1)
        usage = Usage()
        async with aclosing(self.generate(prompt)) as pieces:
            async for piece in pieces:
                usage = piece.usage if isinstance(piece, Finished) else usage
        return usage

    async def _lines(self, body: dict[str, Any]) -> AsyncGenerator[str, None]:
        async with self._client.stream("POST", "chat/completions", json=body) as response:
            if response.status_code != _OK:
                said = (await response.aread()).decode(errors="replace")[:_LOGGED_CHARS]
                raise self._refused(response, said)
            # Not `aiter_lines`: it also ends lines at characters that JSON may hold as they are.
            rest = b""
            async for data in response.aiter_bytes():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    yield line.decode()
            yield rest.decode()

    def _request(self, prompt: Prompt, layout: ChatLayout) -> dict[str, Any]:
        settings = self._settings
        request = {
            "model": self.model.name,
            "messages": layout.messages,
            settings.limit_field: prompt.max_output_tokens or settings.max_output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if prompt.output_schema:
            request["response_format"] = response_format(prompt.output_schema)
        return request

    def _refused(self, response: httpx2.Response, said: str) -> MeshError:
        """Return what a status means; what the provider says of it goes to the log."""
        status = response.status_code
        _LOG.warning("%s: %s: %s", self.model.name, status, said)
        message = f"{self.model.name}: the provider answered {status}"
        if status in _FULL_STATUSES:
            wait_s = min(retry_after_s(response.headers), self._settings.retry_after_limit_s)
            return ModelOverloadedError(message, retry_after_s=wait_s)
        return failure(message, has_text=False)


class _SaidError(Exception):
    """The provider says within a stream that it failed."""


class _Reading:
    """The lines of one stream, read into pieces."""

    def __init__(self, layout: ChatLayout, entered: Entered) -> None:
        self._markers = Markers(layout)
        self._entered = entered
        self._usage = Usage()
        self._stop_reason = ""
        self._is_begun = False
        self.is_finished = False

    @property
    def has_text(self) -> bool:
        return self._markers.has_text

    def pieces_of(self, line: str) -> Iterator[Piece]:
        """Yield what a line adds; comments and blank lines add nothing."""
        if not line.startswith(_DATA):
            return
        data = line.removeprefix(_DATA).strip()
        if data != _DONE:
            yield from self._chunk(json.loads(data))
        elif self._stop_reason:
            yield from self._markers.close()
            self._entered.counted(self._usage)
            self.is_finished = True
            yield Finished(self._finish_reason(), self._usage)

    def _chunk(self, chunk: Mapping[str, Any]) -> Iterator[Piece]:
        if error := chunk.get("error"):
            raise _SaidError(str(error)[:_LOGGED_CHARS])
        if not self._is_begun:
            self._is_begun = True
            self._entered.answers()
        if said := chunk.get("usage"):
            self._usage = usage_of(said)
            yield self._usage
        # The chunk with the usage has no choices.
        for choice in chunk.get("choices", ())[:1]:
            self._stop_reason = choice.get("finish_reason") or self._stop_reason
            yield from self._markers.feed(choice.get("delta", {}).get("content") or "")

    def _finish_reason(self) -> FinishReason:
        reason = _STOPPED.get(self._stop_reason, FinishReason.INTERRUPTED)
        if reason.is_whole and not self.has_text:
            return FinishReason.NO_ANSWER
        return reason


def usage_of(said: Mapping[str, Any]) -> Usage:
    """Return the tokens that a response states; those read from the cache are among the prompt's.

    What is written to the cache costs nothing more and is not said.
    """
    prompt = int(said.get("prompt_tokens") or 0)
    cached = int((said.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    cached = min(cached, prompt)
    return Usage(prompt - cached, int(said.get("completion_tokens") or 0), cached)
