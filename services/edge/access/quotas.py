"""How much a caller may have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from services.edge.access.caller import Caller


class Quotas:
    """Sets no limit."""

    @asynccontextmanager
    async def within(self, caller: Caller, *, streaming: bool) -> AsyncIterator[None]:
        """Count a request while inside."""
        yield

    async def charge(self, caller: Caller, tokens: int) -> None:
        """Count the tokens of an answer."""

    def headers(self, caller: Caller) -> Mapping[str, str]:
        """Return what a response says of the quotas."""
        return {}
