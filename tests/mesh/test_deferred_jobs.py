"""A question that became a job is answered by it, over the real jobs service and a worker."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

from blockbuster import BlockBuster

from libs.clients import Connection
from libs.clients.jobs import JobsClient
from libs.server.testing import serving
from libs.values import AnswerState, Quality, Question, Render
from libs.values.jobs import JobState
from services.jobs.__main__ import build as build_jobs
from services.jobs.config import JobsConfig
from services.jobs.kinds import KINDS
from tests.support.blocking import blocking
from tests.support.corpus import FACTS, TENANT
from tests.support.job_service import work
from tests.support.mesh import Mesh, Setting, open_mesh
from tests.support.provider import Provider

POLICIES = """
[deferring]
fallback = "job"
first_text_s = 0.6
lookup_limit_s = 5.0

[deferring.costs]
model_first_text = 0.1
"""
ASKED = Question(
    TENANT,
    FACTS[0].question,
    policy="deferring",
    minimum_quality=Quality.FULL,
    render=Render.OUTLINE,
)


def targets_of(mesh: Mesh) -> dict[str, str]:
    """Return where a worker finds the services that it calls."""
    names = ("orchestrator", "embedding", "retrieval", "generation")
    return {f"{name}_target": mesh.rooms[name].address for name in names}


async def test_a_job_gives_the_answer_that_there_was_no_time_for(
    redis_url: str,
    model_dir: Path,
    tmp_path: Path,
    provider: Provider,
    no_blocking: BlockBuster,
) -> None:
    path = tmp_path / "deferring.toml"
    async with AsyncExitStack() as stack:
        with blocking(no_blocking):
            path.write_text(POLICIES)
            served = await stack.enter_async_context(build_jobs(JobsConfig(redis_url=redis_url)))
        address = await stack.enter_async_context(serving(served.register))
        jobs = JobsClient(await stack.enter_async_context(Connection.open(address)))
        settings = {"orchestrator": {"policies_file": path, "jobs_target": address}}
        setting = Setting(
            redis_url, model_dir, tmp_path, provider_url=provider.url, settings=settings
        )
        mesh = await stack.enter_async_context(open_mesh(setting, no_blocking))
        provider.behave(first_text="60")
        told = await mesh.ask(ASKED)
        assert told.completed.answer_state is AnswerState.DEFERRED
        job_id = told.completed.job_id
        assert (await jobs.get(TENANT, job_id)).state is JobState.QUEUED
        provider.behave(first_text="0", sections=2, words=60)
        with blocking(no_blocking):
            await stack.enter_async_context(work(redis_url, KINDS, **targets_of(mesh)))
        async with jobs.watch(TENANT, job_id, limit_s=20) as events:
            async for _ in events:
                pass
        job = await jobs.get(TENANT, job_id)
        assert job.state is JobState.SUCCEEDED
        result = json.loads(job.result)
        assert result["answer_state"] == "complete"
        assert result["quality"] == "full"
        assert result["answer"].count("## Part") == 2
        with blocking(no_blocking):
            await stack.aclose()
