"""Passages that nobody has put in order are told of as such."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from libs.values import Question
from tests.support.corpus import FACTS, TENANT
from tests.support.mesh import Mesh, Setting, open_mesh


@pytest.fixture
async def mesh(
    redis_url: str, model_dir: Path, tmp_path: Path, no_blocking: BlockBuster
) -> AsyncIterator[Mesh]:
    """A mesh whose retrieval asks for a scorer that the embedding service has not."""
    setting = Setting(redis_url, model_dir, tmp_path, settings={"retrieval": {"reranker": "pairs"}})
    async with open_mesh(setting, no_blocking) as opened:
        yield opened


async def test_passages_left_as_they_were_fused_are_named_in_answer_and_account(mesh: Mesh) -> None:
    told = await mesh.ask(Question(TENANT, FACTS[0].question))
    assert FACTS[0].answer in told.text
    assert told.lost["retrieval"] == "NOT_RERANKED"
    hops = {hop.hop: hop.outcome for hop in told.completed.account.hops}
    assert hops["retrieval"] == "NOT_RERANKED"
