"""A cache process, what it watches, and its Redis, for the tests here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from libs.clients.cache import CacheClient
from libs.server.testing import serving
from tests.unit.cache.parts import Documents, cache_process


@pytest.fixture
def documents() -> Documents:
    return Documents()


@pytest.fixture
async def retrieval(documents: Documents) -> AsyncIterator[str]:
    async with serving(documents.register) as address:
        yield address


@pytest.fixture
async def cache(redis_url: str, retrieval: str) -> AsyncIterator[CacheClient]:
    async with cache_process(redis_url, retrieval) as client:
        yield client


@pytest.fixture
async def replica(redis_url: str, retrieval: str) -> AsyncIterator[CacheClient]:
    """A second cache process on the same Redis."""
    async with cache_process(redis_url, retrieval) as client:
        yield client


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url, protocol=3, driver_info=None) as client:
        yield client
