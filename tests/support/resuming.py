"""A reader of runs whose connection breaks: it resumes at the number of the last event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.edges import SSE, Frames, frames_of, text_of

_PAUSE_S = 0.05
_MOST_TRIES = 200


class EndedBadlyError(AssertionError):
    """What was asked has no end that can be told."""


@dataclass
class ResumingReader:
    """Asks one of several edges, and reads on at the next whenever it is cut off.

    Attributes:
        edges: clients of the edges, in the order in which they are tried.
        body: what is asked.
        resumes: False reads a run from its beginning again, as who knows no numbers does.
        on_frames: told after each piece of a stream.
        frames: all events that came.
        cuts: how often it was cut off.
        run_id: the run, once its plan was seen.
    """

    edges: Sequence[httpx.AsyncClient]
    body: Mapping[str, Any]
    resumes: bool = True
    on_frames: Callable[[Frames], Awaitable[None]] | None = None
    frames: Frames = field(default_factory=list)
    cuts: int = 0
    run_id: str = ""

    @property
    def text(self) -> str:
        return text_of(self.frames)

    @property
    def last(self) -> Any:
        return self.frames[-1][2]

    @property
    def numbers_since_revised(self) -> list[int]:
        """The numbers of what came after all that was withdrawn by no event of the run."""
        numbers: list[int] = []
        for number, name, _ in self.frames:
            if name == "revised" and not number:
                numbers.clear()
            elif number:
                numbers.append(int(number))
        return numbers

    async def read(self) -> ResumingReader:
        """Read to the end, over as many connections as it takes."""
        for turn in range(_MOST_TRIES):
            edge = self.edges[turn % len(self.edges)]
            try:
                async for frames in self._stream(edge):
                    await self._take(frames)
            except httpx.TransportError:
                self.cuts += 1
            if self.frames and self.frames[-1][1] == "completed":
                return self
            await asyncio.sleep(_PAUSE_S)
        raise EndedBadlyError(f"cut off {self.cuts} times: {self.frames[-1:]}")

    async def _take(self, frames: Frames) -> None:
        for each in frames:
            if each[1] == "error":
                continue
            self.frames.append(each)
            if each[1] == "plan":
                self.run_id = each[2]["run_id"]
        if self.on_frames is not None:
            await self.on_frames(frames)

    async def _stream(self, edge: httpx.AsyncClient) -> AsyncIterator[Frames]:
        async with self._request(edge) as response:
            if response.status_code == httpx.codes.NOT_FOUND:
                raise EndedBadlyError(f"not there: {self.run_id} after {self.frames[-2:]}")
            if response.status_code != httpx.codes.OK:
                return
            rest = ""
            async for text in response.aiter_text():
                # Half an event is none.
                whole, _, rest = (rest + text).rpartition("\n\n")
                yield frames_of(whole)

    def _request(self, edge: httpx.AsyncClient) -> Any:
        if not self.run_id:
            return edge.stream("POST", "/v1/answers", json=self.body, headers=SSE)
        numbers = self.numbers_since_revised if self.resumes else []
        headers = {"Last-Event-ID": str(numbers[-1])} if numbers else {}
        path = f"/v1/runs/{self.run_id}/events"
        return edge.stream("GET", path, headers=SSE | headers)
