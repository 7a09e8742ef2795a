"""Jobs over a whole mesh: what they call ends with them, and their traces say who asked."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from libs.clients.jobs import JobsClient
from libs.telemetry import names, root_span
from libs.values.jobs import Job, JobState, Submission
from tests.support.corpus import FACTS, TENANT
from tests.support.job_service import told
from tests.support.mesh import Mesh
from tests.support.provider import Provider
from tests.support.spans import Spans
from tests.support.waiting import until

CANCELLED_WITHIN_S = 0.5
# The machine may be busy with something else; `make prove` asserts the promise itself.
WIDELY_S = 5.0
TURNS = 10


async def submit(client: JobsClient, kind: str, **given: Any) -> Job:
    data = json.dumps(given).encode()
    return (await client.submit(Submission(TENANT, kind, data))).job


async def cancelled_after_s(client: JobsClient, provider: Provider) -> float:
    """Cancel a job while the model writes for it; return the seconds until that has stopped."""
    provider.behave(words=5_000, gap="0.01", first_text="0.01")
    job = await submit(client, "answer", question=FACTS[0].question)
    before = len(provider.calls)
    async with asyncio.timeout(20):
        while len(provider.calls) == before or not provider.calls[-1].pieces:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    began_s = time.monotonic()
    assert (await client.cancel(TENANT, job.job_id)).state is JobState.CANCELLED

    async def has_stopped() -> bool:
        return provider.in_flight == 0

    await until(has_stopped, within_s=WIDELY_S, every_s=0.002)
    assert provider.calls[-1].outcome == "cancelled"
    return time.monotonic() - began_s


async def test_cancelling_a_job_stops_the_model(model_mesh: Mesh, provider: Provider) -> None:
    await cancelled_after_s(await model_mesh.add_jobs(), provider)


@pytest.mark.prove
async def test_cancelling_a_job_stops_the_model_soon(model_mesh: Mesh, provider: Provider) -> None:
    client = await model_mesh.add_jobs()
    took = [await cancelled_after_s(client, provider) for _ in range(TURNS)]
    print(f"{TURNS} cancelled jobs: the model stopped within {max(took) * 1e3:.0f} ms at most")
    assert max(took) < CANCELLED_WITHIN_S


async def test_a_jobs_trace_links_to_the_request_that_submitted_it(
    mesh: Mesh, spans: Spans
) -> None:
    client = await mesh.add_jobs()
    with root_span("a request", {}) as request:
        asked = request.get_span_context().trace_id
        job = await submit(client, "answer", question=FACTS[0].question)
    await told(client, TENANT, job.job_id)
    done = await client.get(TENANT, job.job_id)
    assert done.state is JobState.SUCCEEDED

    async def has_ended() -> bool:
        return any(each.name == "job answer" for each in spans.ended())

    await until(has_ended)
    (root,) = [each for each in spans.ended() if each.name == "job answer"]
    assert root.parent is None
    assert [link.context.trace_id for link in root.links] == [asked]
    assert f"{root.get_span_context().trace_id:032x}" == done.trace_id != f"{asked:032x}"
    assert (root.attributes or {})[names.JOB_ID] == job.job_id
    # What the job has called is in its trace, not in the request's.
    called = {each.name for each in spans.ended(root.get_span_context().trace_id)}
    assert "hasten.answer.v1.AnswerService/StreamAnswer" in called


async def test_a_job_has_time_of_its_own_when_its_submitters_is_over(
    mesh: Mesh, spans: Spans
) -> None:
    client = await mesh.add_jobs()
    data = json.dumps({"question": FACTS[0].question}).encode()
    submitted = await client.submit(Submission(TENANT, "answer", data), limit_s=5.0)
    await told(client, TENANT, submitted.job.job_id)
    (call,) = [
        each
        for each in spans.ended()
        if each.name == "hasten.answer.v1.AnswerService/StreamAnswer"
        and names.GRANTED_MS in (each.attributes or {})
    ]
    granted_ms = (call.attributes or {})[names.GRANTED_MS]
    assert isinstance(granted_ms, float)
    assert granted_ms > 5_000
