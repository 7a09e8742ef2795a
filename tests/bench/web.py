"""HTTP with next to nothing around it, so that what is measured is the server."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

FIRST_EVENT = re.compile(rb"\nevent: text\r?\n|^event: text\r?\n")
# A chunk of a chat completion may have a role and an empty text before the first words.
FIRST_DELTA = re.compile(rb'"content": ?"[^"]')


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request; times are in seconds from its start.

    Attributes:
        first_s: when what was looked for came; the end, if nothing was.
        whole_s: when all of it was there.
    """

    headers: Mapping[str, str]
    body: bytes
    first_s: float
    whole_s: float


class Line:
    """One HTTP/1.1 connection that is kept; requests go one after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def post(
        self, path: str, fields: Mapping[str, Any], first: re.Pattern[bytes] | None = None
    ) -> Reply:
        """Send JSON, and read the whole answer: a stream, if `first` says what to look for.

        Raises:
            ValueError: the status is not 200, or what was looked for never came.
        """
        body = json.dumps(fields).encode()
        accept = "application/json" if first is None else "text/event-stream"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n"
            # The simulator wants a key, and takes any.
            "Authorization: Bearer any\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        started_s = time.perf_counter()
        self._writer.write(head.encode() + body)
        status, headers = await self._head()
        got, first_s = b"", 0.0
        async for part in self._parts(headers):
            got += part
            if first is not None and not first_s and first.search(got):
                first_s = time.perf_counter() - started_s
        whole_s = time.perf_counter() - started_s
        if status != 200 or (first is not None and not first_s):
            msg = f"POST {path}: {status}, {got[:500]!r}"
            raise ValueError(msg)
        return Reply(headers, got, first_s or whole_s, whole_s)

    async def _head(self) -> tuple[int, dict[str, str]]:
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def _parts(self, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        if "content-length" in headers:
            yield await self._reader.readexactly(int(headers["content-length"]))
            return
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readuntil(b"\r\n")


@asynccontextmanager
async def line_to(address: str) -> AsyncIterator[Line]:
    """Connect to `host:port`, or to a URL that has nothing else."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
