"""Jobs over real HTTP, before the real jobs service and a worker."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from blockbuster import BlockBuster
from grpc import aio
from jsonschema import validate

from hasten.jobs.v1 import jobs_service_pb2 as pb
from hasten.jobs.v1.jobs_service_pb2_grpc import (
    JobsServiceServicer,
    add_JobsServiceServicer_to_server,
)
from libs.clients import Connection
from libs.clients.jobs import JobsClient
from libs.errors import JobNotFoundError, UnreachableError
from libs.server.testing import serving
from libs.values.jobs import Job, JobCompleted, JobEvent, JobItem, JobState, Submission
from libs.wire import job_event_to, job_to
from services.edge.access.quota import Plans, Quota
from services.edge.access.quotas import Quotas
from services.edge.jobs.desk import Desk
from services.edge.jobs.showing import LIST_SCHEMA, SCHEMA
from tests.support.job_edge import DEFAULT, Setting, caller, edge_before, events_of
from tests.support.job_service import Jobs, jobs_running, told
from tests.support.waiting import until

STEPS = {"kind": "steps", "input": {"count": 3}}
GATE = {"kind": "gate", "input": {}}
SETTING = replace(
    DEFAULT,
    guests={
        "rival": caller("rival"),
        "reader": caller("acme", frozenset({"documents.read"})),
        "worker": caller("acme", frozenset({"jobs"})),
        "clerk": caller("acme", scopes=frozenset({"hr"})),
    },
)


def as_(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def nothing() -> AsyncIterator[Connection]:
    """A connection to nobody, for what is not asked here."""
    async with Connection.open("127.0.0.1:1") as connection:
        yield connection


@pytest.fixture
async def jobs(redis_url: str, no_blocking: BlockBuster) -> AsyncIterator[Jobs]:
    async with jobs_running(redis_url, no_blocking) as running:
        yield running


@pytest.fixture
async def http(nothing: Connection, jobs: Jobs) -> AsyncIterator[httpx.AsyncClient]:
    async with edge_before(nothing, jobs=jobs.client, setting=SETTING) as opened:
        yield opened


async def submitted(http: httpx.AsyncClient, body: Any = STEPS, **headers: str) -> dict[str, Any]:
    response = await http.post("/v1/jobs", json=body, headers=headers)
    assert response.status_code in (200, 202), response.text
    members: dict[str, Any] = response.json()
    return members


async def ended(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    members: dict[str, Any] = (await http.get(f"/v1/jobs/{job_id}?wait=30")).json()
    return members


async def test_a_job_is_taken_on_and_its_address_told(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/jobs", json=STEPS)
    job = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/jobs/{job['job_id']}"
    assert response.headers["retry-after"] == "1"
    assert (job["kind"], job["state"], job["result"]) == ("steps", "queued", None)


async def test_a_job_is_waited_for_to_its_end(http: httpx.AsyncClient) -> None:
    job = await submitted(http)
    response = await http.get(f"/v1/jobs/{job['job_id']}?wait=30")
    done = response.json()
    assert (done["state"], done["result"]) == ("succeeded", {"steps": 3, "attempt": 1})
    assert done["progress"]["percent"] == 100
    assert (done["progress"]["done"], done["progress"]["total"]) == (3, 3)
    assert "retry-after" not in response.headers


async def test_the_same_key_is_the_same_job(http: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "once"}
    first, second = [await http.post("/v1/jobs", json=STEPS, headers=key) for _ in range(2)]
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.headers["location"] == second.headers["location"]
    other = await http.post("/v1/jobs", json=GATE, headers=key)
    assert (other.status_code, other.json()["reason"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    foreign = await http.post("/v1/jobs", json=STEPS, headers=key | as_("rival"))
    assert foreign.status_code == 202


async def test_a_job_has_an_etag_that_changes_with_it(http: httpx.AsyncClient) -> None:
    job = await ended(http, (await submitted(http))["job_id"])
    path = f"/v1/jobs/{job['job_id']}"
    tag = (await http.get(path)).headers["etag"]
    assert tag == f'"{job["revision"]}"'
    same = await http.get(f"{path}?wait=60", headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert (await http.get(path, headers={"If-None-Match": '"0"'})).status_code == 200
    for foreign in ("old", f'"{"9" * 20}"', f'"{"9" * 5000}"'):
        assert (await http.get(path, headers={"If-None-Match": foreign})).status_code == 200


@pytest.mark.parametrize("asked", ["query", "preference"])
async def test_a_wait_ends_when_something_changes(
    http: httpx.AsyncClient, jobs: Jobs, asked: str
) -> None:
    job = await submitted(http, GATE)
    path = f"/v1/jobs/{job['job_id']}"

    async def waits() -> bool:
        return bool((await http.get(path)).json()["progress"]["stage"] == "waiting")

    await until(waits)
    headers = {"If-None-Match": (await http.get(path)).headers["etag"]}
    query = "?wait=60" if asked == "query" else ""
    more = {} if asked == "query" else {"Prefer": "respond-async, wait=600"}
    waiting = asyncio.create_task(http.get(path + query, headers=headers | more))
    done, _ = await asyncio.wait({waiting}, timeout=0.2)
    assert not done
    jobs.watched.open_gate.set()
    response = await waiting
    assert response.status_code == 200
    assert response.headers.get("preference-applied", "") == ("" if query else "wait=60")


async def test_a_wait_is_no_longer_than_asked(http: httpx.AsyncClient, jobs: Jobs) -> None:
    path = f"/v1/jobs/{(await submitted(http, GATE))['job_id']}"
    started_s = time.monotonic()
    response = await http.get(f"{path}?wait=0.3")
    assert response.json()["state"] in ("queued", "running")
    assert 0.3 <= time.monotonic() - started_s < 10
    assert response.headers["retry-after"] == "1"


async def test_nobody_is_held_by_a_process_that_ends(jobs: Jobs) -> None:
    job_id = (await jobs.client.submit(Submission("acme", "gate", b"{}"))).job.job_id
    desk, acme = Desk(jobs.client, time.monotonic), caller("acme")

    async def waits() -> bool:
        return (await desk.get(acme, job_id)).progress.stage == "waiting"

    await until(waits)
    known = (await desk.get(acme, job_id)).revision
    waiting = [asyncio.create_task(desk.wait(acme, job_id, each, 60.0)) for each in (None, known)]
    done, _ = await asyncio.wait(waiting, timeout=0.2)
    assert not done
    desk.drain()
    held = await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert [each.revision for each in held] == [known, known]


async def test_a_caller_that_leaves_is_waited_with_no_longer(
    http: httpx.AsyncClient, jobs: Jobs
) -> None:
    path = f"/v1/jobs/{(await submitted(http, GATE))['job_id']}?wait=60"
    _, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    await writer.drain()
    writer.close()

    async def is_free() -> bool:
        text = (await http.get("/metrics")).text
        return 'operation="getJob",status="499"} 1.0' in text

    assert await until(is_free) < 10


async def test_a_running_job_is_cancelled(http: httpx.AsyncClient, jobs: Jobs) -> None:
    path = f"/v1/jobs/{(await submitted(http, GATE))['job_id']}"

    async def runs() -> bool:
        return bool((await http.get(path)).json()["state"] == "running")

    await until(runs)
    response = await http.delete(path)
    assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    assert (await http.delete(path)).json()["state"] == "cancelled"


async def test_jobs_are_listed_in_pages_by_state_and_kind(
    http: httpx.AsyncClient, jobs: Jobs
) -> None:
    ids = [(await submitted(http))["job_id"] for _ in range(3)]
    gate = await submitted(http, GATE)
    for each in ids:
        await ended(http, each)
    await submitted(http, STEPS, **as_("rival"))
    listed: list[str] = []
    token = ""
    while True:
        query = f"?state=succeeded,failed&kind=steps&page_size=2&page_token={token}"
        page = (await http.get(f"/v1/jobs{query}")).json()
        listed += [job["job_id"] for job in page["jobs"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert listed == ids[::-1]
    everything = (await http.get("/v1/jobs")).json()["jobs"]
    assert [job["job_id"] for job in everything] == [gate["job_id"], *ids[::-1]]
    assert (await http.get("/v1/jobs?dead_letters=true")).json()["jobs"] == []


async def test_a_dead_letter_is_tried_again(http: httpx.AsyncClient) -> None:
    dying = {"kind": "steps", "input": {"count": 2, "failures": 9, "fail_after": 1}}
    job = await ended(http, (await submitted(http, dying))["job_id"])
    assert (job["state"], job["dead_letter"]) == ("failed", True)
    assert job["error"]["reason"] == "UNREACHABLE"
    assert len((await http.get("/v1/jobs?dead_letters=true")).json()["jobs"]) == 1
    response = await http.post(f"/v1/jobs/{job['job_id']}/retry")
    again = response.json()
    assert (response.status_code, again["retry_of"]) == (202, job["job_id"])
    assert response.headers["location"] == f"/v1/jobs/{again['job_id']}"


async def test_only_a_dead_letter_is_tried_again(http: httpx.AsyncClient) -> None:
    job = await ended(http, (await submitted(http))["job_id"])
    response = await http.post(f"/v1/jobs/{job['job_id']}/retry")
    assert (response.status_code, response.json()["reason"]) == (409, "NOT_A_DEAD_LETTER")


async def test_a_stream_tells_all_that_happens_to_a_job(http: httpx.AsyncClient) -> None:
    job = await submitted(http)
    response = await http.get(f"/v1/jobs/{job['job_id']}/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    assert [int(number) for number, _, _ in events] == list(range(1, len(events) + 1))
    items = [json.loads(data) for _, name, data in events if name == "item"]
    assert items == [{"key": f"step-{step}", "value": {"step": step}} for step in range(3)]
    _, name, data = events[-1]
    assert (name, json.loads(data)["result"]) == ("completed", {"steps": 3, "attempt": 1})
    assert "state" in {name for _, name, _ in events}
    assert "progress" in {name for _, name, _ in events}


async def test_a_stream_goes_on_behind_the_last_event_that_was_seen(
    http: httpx.AsyncClient, jobs: Jobs
) -> None:
    job = await submitted(http)
    path = f"/v1/jobs/{job['job_id']}/events"
    whole = events_of((await http.get(path)).text)
    rest = await http.get(f"{path}?after=1", headers={"Last-Event-ID": "4"})
    assert events_of(rest.text) == whole[4:]
    assert events_of((await http.get(f"{path}?after=1")).text) == whole[1:]
    over = await http.get(path, headers={"Last-Event-ID": whole[-1][0]})
    assert (over.status_code, over.content) == (204, b"")
    assert len(await told(jobs.client, "acme", job["job_id"])) == len(whole)


async def test_another_tenants_job_is_not_there(http: httpx.AsyncClient) -> None:
    path = f"/v1/jobs/{(await submitted(http))['job_id']}"
    answers = [
        await http.get(path, headers=as_("rival")),
        await http.delete(path, headers=as_("rival")),
        await http.get(f"{path}/events", headers=as_("rival")),
        await http.post(f"{path}/retry", headers=as_("rival")),
        await http.get("/v1/jobs/never-was"),
        await http.get("/v1/jobs/%20"),
    ]
    assert {(each.status_code, each.json()["reason"]) for each in answers} == {
        (404, "JOB_NOT_FOUND")
    }
    assert (await http.get("/v1/jobs", headers=as_("rival"))).json()["jobs"] == []


async def test_a_job_in_a_scope_is_there_for_those_who_may_name_it(
    http: httpx.AsyncClient,
) -> None:
    own = await http.post("/v1/jobs", json=STEPS | {"scope": "hr"}, headers=as_("clerk"))
    assert own.status_code == 202
    foreign = await http.post("/v1/jobs", json=STEPS | {"scope": "board"}, headers=as_("clerk"))
    assert (foreign.status_code, foreign.json()["reason"]) == (403, "SCOPE_NOT_ALLOWED")
    hidden = await submitted(http, STEPS | {"scope": "board"})
    path = f"/v1/jobs/{hidden['job_id']}"
    assert (await http.get(path)).status_code == 200
    assert (await http.get(path, headers=as_("clerk"))).status_code == 404
    assert (await http.delete(path, headers=as_("clerk"))).status_code == 404
    assert (await http.get(f"{path}/events", headers=as_("clerk"))).status_code == 404
    listed = (await http.get("/v1/jobs", headers=as_("clerk"))).json()["jobs"]
    assert [job["job_id"] for job in listed] == [own.json()["job_id"]]


async def test_jobs_take_a_right_and_ingestion_takes_another(http: httpx.AsyncClient) -> None:
    refused = await http.post("/v1/jobs", json=STEPS, headers=as_("reader"))
    assert (refused.status_code, refused.json()["reason"]) == (403, "MISSING_RIGHT")
    ingest = {"kind": "ingest", "input": {}}
    refused = await http.post("/v1/jobs", json=ingest, headers=as_("worker"))
    assert (refused.status_code, refused.json()["reason"]) == (403, "MISSING_RIGHT")
    assert "documents.write" in refused.json()["detail"]
    assert (await http.post("/v1/jobs", json=STEPS, headers=as_("worker"))).status_code == 202


class BreakingJobs(JobsServiceServicer):
    """Has one job of ten items, and breaks off after every third event."""

    def __init__(self) -> None:
        self.calls = 0
        self.is_gone = False

    def register(self, server: aio.Server) -> None:
        add_JobsServiceServicer_to_server(self, server)

    async def GetJob(self, request: Any, context: Any) -> Any:
        return pb.GetJobResponse(job=job_to(Job("j", "steps", JobState.RUNNING, 1.0, 2.0, 1)))

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.calls += 1
        if self.is_gone:
            raise JobNotFoundError("job_id: 'j' is not known, or has expired")
        for sequence in range(request.after_sequence + 1, 12)[:3]:
            yield pb.WatchJobResponse(
                events=[job_event_to(JobEvent(sequence, 1.0, _told(sequence)))]
            )
        if request.after_sequence + 3 < 11:
            raise UnreachableError("this replica goes")


def _told(sequence: int) -> JobItem | JobCompleted:
    if sequence == 11:
        return JobCompleted(
            Job("j", "steps", JobState.SUCCEEDED, 1.0, 2.0, 11, result=b'{"a":\n1}')
        )
    return JobItem(f"item-{sequence}", b"{}")


@pytest.fixture
def breaking() -> BreakingJobs:
    return BreakingJobs()


@pytest.fixture
async def shaky(nothing: Connection, breaking: BreakingJobs) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(breaking.register) as address,
        Connection.open(address) as connection,
        edge_before(nothing, jobs=JobsClient(connection)) as opened,
    ):
        yield opened


async def test_a_stream_goes_on_when_the_jobs_service_breaks_off(
    shaky: httpx.AsyncClient, breaking: BreakingJobs
) -> None:
    events = events_of((await shaky.get("/v1/jobs/j/events")).text)
    assert [number for number, _, _ in events] == [str(number) for number in range(1, 12)]
    assert json.loads(events[-1][2])["result"] == {"a": 1}
    assert breaking.calls == 4


async def test_a_job_that_is_gone_is_not_waited_for(
    shaky: httpx.AsyncClient, breaking: BreakingJobs
) -> None:
    breaking.is_gone = True
    response = await shaky.get("/v1/jobs/j/events")
    assert (response.status_code, response.json()["reason"]) == (404, "JOB_NOT_FOUND")
    assert breaking.calls == 1


async def test_nobody_ingests_into_a_scope_that_is_not_theirs(http: httpx.AsyncClient) -> None:
    ingest = {"kind": "ingest", "input": {"scope": "board", "files": []}}
    refused = await http.post("/v1/jobs", json=ingest, headers=as_("clerk"))
    assert (refused.status_code, refused.json()["reason"]) == (403, "SCOPE_NOT_ALLOWED")


REFUSED = [
    ({"kind": "bake", "input": {}}, "kind"),
    ({"kind": "steps"}, "input"),
    ({"kind": "steps", "input": []}, "input"),
    ({"kind": "steps", "input": {"count": "3"}}, "input.count"),
    (STEPS | {"result_ttl_s": 0}, "result_ttl_s"),
    (STEPS | {"result_ttl_s": 1e9}, "result_ttl_s"),
    (STEPS | {"scope": "no scope"}, "scope"),
    (STEPS | {"more": 1}, "more"),
]


@pytest.mark.parametrize(("body", "field"), REFUSED)
async def test_a_bad_submission_is_a_problem_that_names_what_is_wrong(
    http: httpx.AsyncClient, body: Any, field: str
) -> None:
    response = await http.post("/v1/jobs", json=body)
    assert (response.status_code, response.json()["field"]) == (400, field)
    assert (await http.get("/v1/jobs")).json()["jobs"] == []


async def test_an_unknown_kind_is_told_which_there_are(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/jobs", json={"kind": "bake", "input": {}})
    assert "gate, steps" in response.json()["detail"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 129])
async def test_a_key_that_is_none_is_refused(http: httpx.AsyncClient, key: str) -> None:
    response = await http.post("/v1/jobs", json=STEPS, headers={"Idempotency-Key": key})
    assert (response.status_code, response.json()["field"]) == (400, "Idempotency-Key")


async def test_a_submission_may_be_longer_than_a_question_but_has_a_limit(
    http: httpx.AsyncClient,
) -> None:
    long = await http.post("/v1/jobs", json={"kind": "steps", "input": {"failure": "x" * 50_000}})
    assert long.status_code == 202
    response = await http.post("/v1/jobs", json={"kind": "steps", "input": {"x": "x" * 100_000}})
    assert (response.status_code, response.json()["reason"]) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize(
    "query",
    ["?wait=61", "?wait=-1", "?wait=x", "?wait=nan"],
)
async def test_a_wait_that_is_none_is_refused(http: httpx.AsyncClient, query: str) -> None:
    response = await http.get(f"/v1/jobs/any{query}")
    assert (response.status_code, response.json()["field"]) == (400, "wait")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=done", "state"),
        ("page_size=0", "page_size"),
        ("page_size=201", "page_size"),
        ("page_size=1e2", "page_size"),
        ("dead_letters=yes", "dead_letters"),
        ("page_token=no token", "page_token"),
    ],
)
async def test_a_bad_query_is_refused(http: httpx.AsyncClient, query: str, field: str) -> None:
    response = await http.get(f"/v1/jobs?{query}")
    assert (response.status_code, response.json()["field"]) == (400, field)


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "9" * 20, "9" * 5000])
async def test_a_number_that_is_of_no_event_is_refused(http: httpx.AsyncClient, after: str) -> None:
    job = await submitted(http)
    response = await http.get(f"/v1/jobs/{job['job_id']}/events", headers={"Last-Event-ID": after})
    assert (response.status_code, response.json()["field"]) == (400, "after")


async def test_without_a_jobs_service_it_says_so(nothing: Connection) -> None:
    async with edge_before(nothing, setting=Setting()) as http:
        answers = [
            await http.post("/v1/jobs", json=STEPS),
            await http.get("/v1/jobs"),
            await http.get("/v1/jobs/any"),
            await http.post("/v1/documents", json={"files": []}),
        ]
    assert {(each.status_code, each.json()["reason"]) for each in answers} == {
        (503, "JOBS_NOT_CONFIGURED")
    }


async def test_a_path_says_all_methods_that_it_has(http: httpx.AsyncClient) -> None:
    for path, methods in [
        ("/v1/jobs", "GET, HEAD, POST"),
        ("/v1/jobs/any", "DELETE, GET, HEAD"),
        ("/v1/documents/a/b", "DELETE, GET, HEAD"),
        ("/v1/collections/any", "DELETE, GET, HEAD, PUT"),
    ]:
        refused = await http.patch(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, methods)


async def test_jobs_have_the_form_that_the_document_says(http: httpx.AsyncClient) -> None:
    dying = {"kind": "steps", "input": {"count": 2, "failures": 9}}
    for body in (STEPS, dying):
        job = await submitted(http, body)
        validate(job, SCHEMA)
        validate(await ended(http, job["job_id"]), SCHEMA)
    validate((await http.get("/v1/jobs")).json(), LIST_SCHEMA)


async def test_every_operation_is_in_the_document(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    assert set(paths["/v1/jobs"]) == {"get", "post"}
    assert set(paths["/v1/jobs/{job}"]) == {"get", "delete"}
    assert set(paths["/v1/documents/{document}"]) == {"get", "delete"}
    assert set(paths["/v1/collections/{collection}"]) == {"get", "put", "delete"}
    states = paths["/v1/jobs"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    shown = states["properties"]["jobs"]["items"]["properties"]["state"]["enum"]
    assert set(shown) == {state.name.lower() for state in JobState}


STINGY = replace(SETTING, quota=Quota(tokens_per_day=100))


async def is_refused(http: httpx.AsyncClient) -> bool:
    return (await http.get("/v1/jobs")).status_code == 429


@pytest.mark.parametrize("failures", [0, 1])
async def test_the_tokens_of_a_job_count_once_it_has_ended_though_nobody_asks_for_it(
    nothing: Connection, jobs: Jobs, failures: int
) -> None:
    given = {"count": 3, "tokens": 40, "failures": failures, "fail_after": 2}
    async with edge_before(nothing, jobs=jobs.client, setting=STINGY) as http:
        job = await submitted(http, {"kind": "steps", "input": given})
        await until(lambda: is_refused(http))
    done = await jobs.client.get("acme", job["job_id"])
    assert (done.attempt, done.usage.output_tokens) == (1 + failures, 120)


async def test_the_tokens_of_a_job_count_though_it_was_cancelled(
    nothing: Connection, jobs: Jobs
) -> None:
    given = {"count": 100_000, "tokens": 100, "pause_s": 0.01}
    async with edge_before(nothing, jobs=jobs.client, setting=STINGY) as http:
        job = await submitted(http, {"kind": "steps", "input": given})
        await until(lambda: has_an_item(jobs.client, job["job_id"]))
        await http.delete(f"/v1/jobs/{job['job_id']}")
        await until(lambda: is_refused(http))


async def test_what_a_job_owes_is_noted_though_its_caller_hangs_up_at_once(jobs: Jobs) -> None:
    quotas = Quotas(Plans(STINGY.quota))
    desk = Desk(jobs.client, time.monotonic, quotas)
    submitting = asyncio.create_task(desk.submit(caller("acme"), Submission("acme", "gate", b"{}")))
    await asyncio.sleep(0)
    submitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submitting

    async def is_noted() -> bool:
        return bool(await quotas.due())

    await until(is_noted)


async def has_an_item(client: JobsClient, job_id: str) -> bool:
    return (await client.get("acme", job_id)).item_count > 0


async def test_who_waits_for_a_job_takes_the_room_of_streams_alone(
    nothing: Connection, jobs: Jobs
) -> None:
    setting = replace(SETTING, max_streams=1)
    async with edge_before(nothing, jobs=jobs.client, setting=setting) as http:
        path = f"/v1/jobs/{(await submitted(http, GATE))['job_id']}"
        asks: list[tuple[str, dict[str, str]]] = [
            ("?wait=1", {}),
            ("", {"Prefer": "wait=1"}),
            ("/events", {}),
        ]
        async with http.stream("GET", f"{path}/events") as stream:
            pieces = stream.aiter_raw()
            await anext(pieces)
            for query, headers in asks:
                refused = await http.get(path + query, headers=headers)
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert (await http.get(path)).status_code == 200
        jobs.watched.open_gate.set()
        await until(lambda: is_free(http, path))


async def is_free(http: httpx.AsyncClient, path: str) -> bool:
    return (await http.get(f"{path}?wait=1")).status_code == 200


async def test_a_job_that_names_its_scope_in_its_input_alone_has_that_scope(
    http: httpx.AsyncClient,
) -> None:
    job = await submitted(http, {"kind": "steps", "input": {"scope": "legal"}})
    assert job["scope"] == "legal"
    path = f"/v1/jobs/{job['job_id']}"
    assert (await http.get(path)).status_code == 200
    assert (await http.get(path, headers=as_("clerk"))).status_code == 404
    assert (await http.get("/v1/jobs", headers=as_("clerk"))).json()["jobs"] == []


async def test_a_tenant_whose_jobs_hold_too_much_is_told_so(
    nothing: Connection, redis_url: str, no_blocking: BlockBuster
) -> None:
    async with (
        jobs_running(redis_url, no_blocking, workers=0, server={"tenant_bytes": 10}) as full,
        edge_before(nothing, jobs=full.client) as http,
    ):
        refused = await http.post("/v1/jobs", json=STEPS)
    problem = refused.json()
    assert (refused.status_code, problem["reason"]) == (429, "JOBS_FULL")
    assert "hold as many bytes as they may" in problem["detail"]
    assert refused.headers["retry-after"] == "60"
