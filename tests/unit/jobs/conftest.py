"""The services that jobs call: without a model, and with one that says what it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from tests.support.fixtures import provider
from tests.support.jobs import Staff, open_staff
from tests.support.provider import Provider

__all__ = ["provider"]


@pytest.fixture
async def staff(model_dir: Path, tmp_path: Path, no_blocking: BlockBuster) -> AsyncIterator[Staff]:
    """Without a model."""
    async with open_staff(model_dir, tmp_path, no_blocking) as opened:
        yield opened


@pytest.fixture
async def model_staff(
    model_dir: Path, tmp_path: Path, no_blocking: BlockBuster, provider: Provider
) -> AsyncIterator[Staff]:
    """With a model, at the provider of the test."""
    async with open_staff(model_dir, tmp_path, no_blocking, provider.url) as opened:
        yield opened
