"""The services that jobs call: without a model, and with one that says what it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from tests.support.embedding_process import running
from tests.support.jobs import Staff, open_staff
from tests.support.provider import Provider


@pytest.fixture(scope="session")
def encoder(model_dir: Path) -> Iterator[str]:
    """The address of an embedding service that all tests here share: it keeps nothing."""
    with running(model_dir) as process:
        yield process.address


@pytest.fixture
async def staff(encoder: str, tmp_path: Path, no_blocking: BlockBuster) -> AsyncIterator[Staff]:
    """Without a model."""
    async with open_staff(tmp_path, no_blocking, encoder=encoder) as opened:
        yield opened


@pytest.fixture
async def model_staff(
    encoder: str, tmp_path: Path, no_blocking: BlockBuster, provider: Provider
) -> AsyncIterator[Staff]:
    """With a model, at the provider of the test."""
    url = provider.url
    async with open_staff(tmp_path, no_blocking, encoder=encoder, provider_url=url) as opened:
        yield opened


@pytest.fixture
async def writers(
    tmp_path: Path, no_blocking: BlockBuster, provider: Provider
) -> AsyncIterator[Staff]:
    """A model alone, for jobs that read no documents."""
    async with open_staff(tmp_path, no_blocking, provider_url=provider.url) as opened:
        yield opened
