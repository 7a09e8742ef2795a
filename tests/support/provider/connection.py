"""One connection to the simulated provider: the Anthropic Messages API over plain asyncio.

A protocol of its own rather than a web framework: a request costs well under a
millisecond, and it is seen at once when a client hangs up.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tests.support.provider.behaviour import Behaviour
from tests.support.provider.calls import Call
from tests.support.provider.completions import (
    choice_of,
    chunk_of,
    completion_pieces,
    completion_problem,
    limit_of,
    usage_chunk,
)
from tests.support.provider.messages import (
    error_of,
    message_of,
    usage_of,
    whole_message,
    within,
)
from tests.support.provider.prefixes import Usage
from tests.support.provider.rules import problem
from tests.support.provider.writing import Block, pieces, write

if TYPE_CHECKING:
    # It makes the connections, and so imports this module.
    from tests.support.provider.server import Provider

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    529: "overloaded_error",
}
# A schedule that fell further behind than this is not made up for in a burst.
_MAX_LAG_S = 0.05
_FLUSH_S = 0.01


class _Dropped(Exception):  # noqa: N818 - an event, not an error
    """The behaviour says to hang up."""


class Connection(asyncio.Protocol):
    """One connection: reads requests, and answers them one after the other."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._read = b""
        self._task: asyncio.Task[None] | None = None
        self._due_s = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._provider.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._provider.closed(self)
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        self._transport.abort()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, rest = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        body, self._read = rest[:length], rest[length:]
        method, path, _ = first.split(" ", 2)
        self._task = asyncio.ensure_future(
            self._answer(method, path.partition("?")[0], headers, body)
        )

    async def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        if (method, path) == ("POST", "/v1/messages"):
            await self._message(headers, body, self._respond)
        elif (method, path) == ("POST", "/v1/chat/completions"):
            await self._message(headers, body, self._complete)
        elif (method, path) == ("POST", "/_control"):
            try:
                self._provider.behave(**json.loads(body))
                self._whole(200, asdict(self._provider.behaviour))
            except (ValueError, TypeError) as error:
                self._whole(400, {"error": str(error)})
        elif (method, path) == ("GET", "/_stats"):
            self._whole(200, self._provider.stats())
        else:
            self._error(404, "not found")

    async def _message(
        self,
        headers: dict[str, str],
        body: bytes,
        respond: Callable[[Call, Behaviour], Awaitable[str]],
    ) -> None:
        call, behaviour = self._provider.begin(body, headers)
        try:
            call.outcome = await respond(call, behaviour)
        except _Dropped:
            call.outcome = "dropped"
            self._transport.abort()
        except asyncio.CancelledError:
            call.outcome = "cancelled"
            raise
        finally:
            call.ended_s = time.monotonic()
            self._provider.changed()

    async def _respond(self, call: Call, behaviour: Behaviour) -> str:
        draw = self._provider.delays
        await _pause(draw.next("headers", behaviour.headers))
        if refusal := self._refusal(call, behaviour, problem):
            status, message = refusal
            retry = {"retry-after": behaviour.retry_after} if behaviour.retry_after else {}
            self._error(status, message, retry if status in (429, 529) else {})
            return "refused"
        request = call.request
        reading = self._provider.read(call, request)
        await _pause(_reading_s(reading.usage, behaviour))
        if not request["max_tokens"]:
            self._provider.prefixes.began(reading)
            self._whole(200, whole_message(call, request, [], "max_tokens"))
            return "complete"
        said = self._provider.says(request)
        blocks, stop_reason = within(
            write(request, call.number, behaviour) if said is None else [Block(pieces(said))],
            request["max_tokens"],
            behaviour.stop_reason,
        )
        if not request.get("stream"):
            await _pause(draw.next("first", behaviour.first_text))
            for _ in range(sum(len(block.pieces) for block in blocks) - 1):
                await _pause(draw.next("gap", behaviour.gap))
            self._provider.prefixes.began(reading)
            self._whole(200, whole_message(call, request, blocks, stop_reason))
            return "complete"
        self._provider.prefixes.began(reading)
        self._head(200, {"content-type": "text/event-stream; charset=utf-8"}, chunked=True)
        return await self._stream(call, behaviour, blocks, stop_reason)

    async def _complete(self, call: Call, behaviour: Behaviour) -> str:
        """Answer as the chat completions API; of what goes wrong, it knows what follows here."""
        draw = self._provider.delays
        await _pause(draw.next("headers", behaviour.headers))
        if refusal := self._refusal(call, behaviour, completion_problem):
            retry = {"retry-after": behaviour.retry_after} if behaviour.retry_after else {}
            self._whole(refusal[0], {"error": {"message": refusal[1]}}, retry)
            return "refused"
        request = call.request
        reading = self._provider.automatic.read(request)
        call.usage = reading.usage
        await _pause(_reading_s(reading.usage, behaviour))
        self._provider.automatic.began(reading)
        self._head(200, {"content-type": "text/event-stream; charset=utf-8"}, chunked=True)
        await _pause(draw.next("first", behaviour.first_text))
        pieces = completion_pieces(request, call.number, behaviour.words, behaviour.cites)
        kept = pieces[: limit_of(request)]
        for piece in kept:
            if call.pieces == behaviour.error_after:
                self._data({"error": {"type": behaviour.error_type, "message": "as told"}})
                return self._end("failed")
            if call.pieces == behaviour.drop_after:
                await asyncio.sleep(_FLUSH_S)
                raise _Dropped
            if call.pieces == behaviour.end_after:
                return self._end("cut")
            self._data(chunk_of(call, request, choices=choice_of(piece)))
            call.pieces += 1
            if call.first_text_s is None:
                call.first_text_s = time.monotonic()
                self._provider.changed()
            await _pause(draw.next("gap", behaviour.gap))
        stop_reason = "length" if len(kept) < len(pieces) else "stop"
        self._data(chunk_of(call, request, choices=choice_of(stop_reason=stop_reason)))
        for chunk in usage_chunk(call, request):
            self._data(chunk)
        self._chunk(b"data: [DONE]\n\n")
        return self._end("complete")

    def _data(self, data: dict[str, Any]) -> None:
        self._chunk(f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode())

    def _refusal(
        self, call: Call, behaviour: Behaviour, problem: Callable[[Any], str | None]
    ) -> tuple[int, str] | None:
        """Return the status and message that a request gets instead of an answer, if any."""
        bearer = call.headers.get("authorization", "").removeprefix("Bearer ")
        key = call.headers.get("x-api-key", bearer)
        if not key or behaviour.api_key not in ("", key):
            return 401, "invalid x-api-key"
        if wrong := problem(call.request):
            return 400, wrong
        if behaviour.status:
            return behaviour.status, "as told"
        overloaded = self._provider.delays.chance(behaviour.overload_rate)
        if overloaded and not behaviour.overload_in_stream:
            return behaviour.overload_status, "Overloaded"
        return None

    async def _stream(
        self, call: Call, behaviour: Behaviour, blocks: list[Block], stop_reason: str
    ) -> str:
        draw = self._provider.delays
        start = message_of(call, call.request, usage=usage_of(call, 1))
        self._event("message_start", message=start)
        self._event("ping")
        if behaviour.overload_in_stream and draw.chance(behaviour.overload_rate):
            self._event("error", error=error_of("overloaded_error", "Overloaded"))
            return self._end("failed")
        self._due_s = time.monotonic() + draw.next("first", behaviour.first_text)
        if behaviour.extras:
            self._extras()
        for index, block in enumerate(blocks, start=int(behaviour.extras)):
            if early := await self._block(call, behaviour, index, block):
                return early
        if early := await self._trouble(call, behaviour):
            return early
        delta = {"stop_reason": stop_reason, "stop_sequence": None}
        self._event("message_delta", delta=delta, usage={"output_tokens": call.pieces})
        self._event("message_stop")
        return self._end("complete")

    async def _block(self, call: Call, behaviour: Behaviour, index: int, block: Block) -> str:
        """Write a block, and return how the call ended within it; empty if it did not."""
        empty: dict[str, Any] = {
            "type": "text",
            "text": "",
            "citations": None if block.citation is None else [],
        }
        self._event("content_block_start", index=index, content_block=empty)
        for piece in block.pieces:
            if early := await self._trouble(call, behaviour):
                return early
            await _pause(self._due_s - time.monotonic())
            self._delta(index, {"type": "text_delta", "text": piece})
            call.pieces += 1
            if call.first_text_s is None:
                call.first_text_s = time.monotonic()
                self._provider.changed()
            # From the last due time, so that what a piece costs does not add up.
            latest_s = max(self._due_s, time.monotonic() - _MAX_LAG_S)
            self._due_s = latest_s + self._provider.delays.next("gap", behaviour.gap)
            if behaviour.ping_every and call.pieces % behaviour.ping_every == 0:
                self._event("ping")
        if block.citation:
            self._delta(index, {"type": "citations_delta", "citation": block.citation})
        self._event("content_block_stop", index=index)
        return ""

    def _extras(self) -> None:
        """Write a block of thinking, with kinds of events and deltas that are not known yet."""
        thinking = {"type": "thinking", "thinking": "", "signature": ""}
        self._event("content_block_start", index=0, content_block=thinking)
        self._delta(0, {"type": "thinking_delta", "thinking": "Let me see."})
        self._delta(0, {"type": "signature_delta", "signature": "c2lnbmVk"})
        self._delta(0, {"type": "later_delta", "text": "of a later version"})
        self._event("content_block_stop", index=0)
        self._event("later_event", message="of a later version")

    async def _trouble(self, call: Call, behaviour: Behaviour) -> str:
        """Do what goes wrong at this piece, and return how the call ended by it; empty if not."""
        if call.pieces == behaviour.error_after:
            self._event("error", error=error_of(behaviour.error_type, "as told"))
            return self._end("failed")
        if call.pieces == behaviour.drop_after:
            # What was written must arrive first.
            await asyncio.sleep(_FLUSH_S)
            raise _Dropped
        if call.pieces == behaviour.end_after:
            return self._end("cut")
        if call.pieces == behaviour.stall_after:
            await asyncio.Event().wait()
        return ""

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        self._event("content_block_delta", index=index, delta=delta)

    def _event(self, kind: str, **data: Any) -> None:
        text = json.dumps({"type": kind, **data}, ensure_ascii=False)
        self._chunk(f"event: {kind}\ndata: {text}\n\n".encode())

    def _chunk(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _end(self, outcome: str) -> str:
        self._transport.write(b"0\r\n\r\n")
        return outcome

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        error = error_of(_ERROR_TYPES.get(status, "api_error"), message)
        self._whole(status, {"type": "error", "error": error}, headers)

    def _whole(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        plain = {"content-type": "application/json", "content-length": str(len(data))}
        self._head(status, plain | (headers or {}))
        self._transport.write(data)

    def _head(self, status: int, headers: dict[str, str], *, chunked: bool = False) -> None:
        known = {each.value: each.phrase for each in HTTPStatus}
        headers = {"request-id": f"req_{len(self._provider.calls):024d}", **headers}
        if chunked:
            headers["transfer-encoding"] = "chunked"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        phrase = known.get(status, "Overloaded")
        self._transport.write(f"HTTP/1.1 {status} {phrase}\r\n{lines}\r\n".encode())


def _reading_s(usage: Usage, behaviour: Behaviour) -> float:
    """Return how long a prompt takes to be read, in seconds."""
    new = usage.uncached + usage.written
    return (behaviour.read_per_1k * new + behaviour.reread_per_1k * usage.read) / 1e3


async def _pause(seconds: float) -> None:
    # Even without a pause others get their turn, as they would beside another process.
    await asyncio.sleep(max(0.0, seconds))
