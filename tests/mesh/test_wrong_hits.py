"""Hits by meaning that users report as wrong, from the report to the end of such hits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from libs.values import CacheControl, Question, Verdict
from tests.support.corpus import FACTS, TENANT
from tests.support.mesh import Mesh, Setting, open_mesh
from tests.support.waiting import until

FACT = FACTS[0]
# A region of the space is trusted less after a few wrong hits; verdicts count after a second.
ROUNDS, FEW = 12, 6


async def layer_of(mesh: Mesh, question: str) -> str:
    asked = Question(TENANT, question, cache_control=CacheControl.ONLY_IF_CACHED)
    return (await mesh.ask(asked)).layer


async def keep(mesh: Mesh) -> None:
    """Have the answer made anew and stored; one that another question waits for would not be."""

    async def is_kept() -> bool:
        return await layer_of(mesh, FACT.question) == "EXACT"

    await mesh.ask(Question(TENANT, FACT.question, cache_control=CacheControl.REFRESH))
    await until(is_kept)


async def report_hits(mesh: Mesh) -> int:
    """Have hits by meaning, each reported as wrong; return how many there were."""
    count = 0
    for _ in range(ROUNDS):
        await keep(mesh)
        asked = Question(TENANT, FACT.paraphrase, cache_control=CacheControl.ONLY_IF_CACHED)
        told = await mesh.ask(asked)
        if told.layer == "SEMANTIC":
            assert await mesh.answers.report(TENANT, told.run_id, Verdict.BAD)
            count += 1
    return count


async def is_withdrawn(mesh: Mesh) -> bool:
    """Return whether the hit is held back for want of trust, and not for another reason."""
    if await layer_of(mesh, FACT.paraphrase):
        return False
    return "NOT_TRUSTED" in (await mesh.cache.stats(TENANT)).lookup_counts


@asynccontextmanager
async def reported(setting: Setting, guard: BlockBuster) -> AsyncIterator[Mesh]:
    """A mesh whose hits by meaning were reported, and that has the answer once more."""
    async with open_mesh(setting, guard) as mesh:
        assert await report_hits(mesh) >= FEW
        await keep(mesh)
        yield mesh


async def test_hits_by_meaning_that_are_reported_as_wrong_are_served_no_more(
    redis_url: str, model_dir: Path, tmp_path: Path, no_blocking: BlockBuster
) -> None:
    setting = Setting(redis_url, model_dir, tmp_path)
    async with reported(setting, no_blocking) as mesh:
        await until(lambda: is_withdrawn(mesh))
        assert await layer_of(mesh, FACT.question) == "EXACT"


async def test_where_no_hit_is_looked_at_reports_withdraw_nothing(
    redis_url: str, model_dir: Path, tmp_path: Path, no_blocking: BlockBuster
) -> None:
    """What the allowance is for: without it, hits go on."""
    setting = Setting(redis_url, model_dir, tmp_path, settings={"cache": {"look_share": 0.0}})
    async with reported(setting, no_blocking) as mesh:
        with pytest.raises(TimeoutError):
            await until(lambda: is_withdrawn(mesh), within_s=2.0)
