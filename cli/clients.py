"""Connections of a command to the mesh that runs on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cli.home import Place
from libs.clients import Connection


@asynccontextmanager
async def connected(place: Place, service: str) -> AsyncIterator[Connection]:
    """Connect to one service of a mesh, with the user's token."""
    async with Connection.open(place.address(service), token=place.token) as connection:
        yield connection
