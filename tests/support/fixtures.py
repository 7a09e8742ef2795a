"""Fixtures of tests that need a whole mesh; a `conftest.py` imports those that it gives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from tests.support.mesh import Mesh, Setting, open_mesh
from tests.support.provider import Provider
from tests.support.spans import Spans
from tests.support.traffic import Traffic


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Every span that this process makes in the test."""
    return Spans.recorded(monkeypatch)


@pytest.fixture
def traffic() -> Traffic:
    """Every call that the mesh of the test serves."""
    return Traffic()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A model provider that behaves as told."""
    async with Provider().serve() as serving:
        yield serving


@pytest.fixture
async def mesh(
    redis_url: str, model_dir: Path, tmp_path: Path, traffic: Traffic, no_blocking: BlockBuster
) -> AsyncIterator[Mesh]:
    """A mesh without a model: answers are taken from the passages."""
    setting = Setting(redis_url, model_dir, tmp_path, interceptors=[traffic])
    async with open_mesh(setting, no_blocking) as opened:
        yield opened


@pytest.fixture
async def model_mesh(
    redis_url: str,
    model_dir: Path,
    tmp_path: Path,
    traffic: Traffic,
    provider: Provider,
    no_blocking: BlockBuster,
) -> AsyncIterator[Mesh]:
    """A mesh with a model, at the provider of the test."""
    setting = Setting(
        redis_url, model_dir, tmp_path, provider_url=provider.url, interceptors=[traffic]
    )
    async with open_mesh(setting, no_blocking) as opened:
        yield opened
