"""A real browser without a window, and what its page shows."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import websockets
from websockets.asyncio.client import ClientConnection

from tests.support.waiting import until

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_SAYS_WHERE = re.compile(rb"DevTools listening on ws://([^/]+)/")


@dataclass
class Page:
    """The page that the browser shows, by the DevTools protocol."""

    socket: ClientConnection
    _count: int = 0

    async def evaluate(self, expression: str) -> Any:
        """Return what an expression is in the page."""
        self._count += 1
        params = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        message = {"id": self._count, "method": "Runtime.evaluate", "params": params}
        await self.socket.send(json.dumps(message))
        while True:
            told = json.loads(await self.socket.recv())
            if told.get("id") == self._count:
                return told["result"]["result"].get("value")

    async def until(self, expression: str, *, within_s: float = 30.0) -> None:
        """Wait until an expression is true in the page."""

        async def holds() -> bool:
            return bool(await self.evaluate(expression))

        await until(holds, within_s=within_s, every_s=0.05)


@asynccontextmanager
async def open_page(url: str, profile: Path) -> AsyncIterator[Page]:
    """Show a page until the block is left; `profile` is an empty folder."""
    assert CHROMIUM is not None
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server")
    where = (f"--user-data-dir={profile}", "--remote-debugging-port=0")
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    browser = await asyncio.create_subprocess_exec(
        CHROMIUM, *flags, *where, url, stdout=nothing, stderr=pipe
    )
    try:
        address = await _address(browser)
        async with httpx.AsyncClient(trust_env=False) as http:
            pages = (await http.get(f"http://{address}/json")).json()
        page = next(each for each in pages if each["type"] == "page")
        async with websockets.connect(page["webSocketDebuggerUrl"], proxy=None) as socket:
            yield Page(socket)
    finally:
        browser.kill()
        await browser.communicate()


async def _address(browser: asyncio.subprocess.Process) -> str:
    assert browser.stderr is not None
    async with asyncio.timeout(60):
        async for line in browser.stderr:
            found = _SAYS_WHERE.search(line)
            if found:
                return found[1].decode()
    raise AssertionError("the browser ended before it said where it listens")
