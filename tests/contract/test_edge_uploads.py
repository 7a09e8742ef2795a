"""Uploads over real HTTP, before a fake jobs service that is handed the files."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from grpc import aio

from hasten.jobs.v1 import jobs_service_pb2 as pb
from hasten.jobs.v1.jobs_service_pb2_grpc import (
    JobsServiceServicer,
    add_JobsServiceServicer_to_server,
)
from libs.clients import Connection
from libs.clients.jobs import JobsClient
from libs.server.testing import serving
from libs.values.jobs import Job, JobState
from libs.wire import job_to
from services.edge.documents.limits import MAX_UPLOAD_BYTES, Limits
from services.jobs.kinds import KINDS
from tests.support.job_edge import DEFAULT, caller, edge_before
from tests.support.waiting import until

LIMITS = Limits(
    max_file_bytes=1000, max_upload_bytes=2000, max_files=3, max_uploads=1, timeout_s=30.0
)
SETTING = replace(
    DEFAULT,
    limits=LIMITS,
    origins=frozenset({"https://app.example"}),
    guests={
        "reader": caller("acme", frozenset({"documents.read"})),
        "writer": caller("acme", frozenset({"documents.write"})),
        "clerk": caller("acme", scopes=frozenset({"hr"})),
    },
)


# Without a type httpx would read the system's list of them from its files.
A_FILE = {"files": ("a.txt", b"A", "text/plain")}


def as_(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class FakeJobs(JobsServiceServicer):
    """Takes every job on, and remembers what it was handed."""

    def __init__(self) -> None:
        self.submitted: list[pb.SubmitJobRequest] = []

    def register(self, server: aio.Server) -> None:
        add_JobsServiceServicer_to_server(self, server)

    async def SubmitJob(self, request: Any, context: Any) -> Any:
        key = request.idempotency_key
        created = not key or key not in [each.idempotency_key for each in self.submitted]
        self.submitted.append(request)
        job = Job("job-1", request.kind, JobState.QUEUED, 1.0, 2.0, 1)
        return pb.SubmitJobResponse(job=job_to(job), created=created)

    @property
    def input(self) -> Any:
        return json.loads(self.submitted[-1].input)


@pytest.fixture
def jobs() -> FakeJobs:
    return FakeJobs()


@pytest.fixture
async def connection(jobs: FakeJobs) -> AsyncIterator[Connection]:
    async with serving(jobs.register) as address, Connection.open(address) as opened:
        yield opened


@pytest.fixture
async def http(connection: Connection) -> AsyncIterator[httpx.AsyncClient]:
    async with edge_before(connection, jobs=JobsClient(connection), setting=SETTING) as opened:
        yield opened


async def test_files_of_a_form_become_a_job(http: httpx.AsyncClient, jobs: FakeJobs) -> None:
    files = [
        ("files", ("a.md", b"# A", "text/markdown")),
        ("files", ("2026/b.bin", bytes(range(256)), "application/octet-stream")),
        ("file", ("empty.txt", b"", "text/plain")),
    ]
    fields = {"collection": "manuals", "scope": "hr", "result_ttl_s": "60"}
    response = await http.post("/v1/documents", files=files, data=fields)
    assert (response.status_code, response.headers["location"]) == (202, "/v1/jobs/job-1")
    assert response.headers["retry-after"] == "1"
    submitted = jobs.submitted[0]
    assert (submitted.tenant_id, submitted.kind, submitted.scope) == ("acme", "ingest", "hr")
    assert submitted.result_ttl.ToSeconds() == 60
    assert (jobs.input["collection"], jobs.input["scope"]) == ("manuals", "hr")
    assert [(each["name"], each.get("media_type")) for each in jobs.input["files"]] == [
        ("a.md", "text/markdown"),
        ("2026/b.bin", "application/octet-stream"),
        ("empty.txt", "text/plain"),
    ]
    contents = [base64.b64decode(each["content_base64"]) for each in jobs.input["files"]]
    assert contents == [b"# A", bytes(range(256)), b""]
    # The kind takes what it is handed.
    KINDS["ingest"].input.model_validate_json(submitted.input)


async def test_documents_may_come_as_json(http: httpx.AsyncClient, jobs: FakeJobs) -> None:
    files = [
        {"name": "a.md", "content": "# Ä", "title": "A", "metadata": {"lang": "de"}},
        {"name": "b.pdf", "content_base64": "AAEC", "media_type": "application/pdf"},
        {"name": "c.txt", "content": "C", "document_id": "letters/c"},
    ]
    response = await http.post("/v1/documents", json={"collection": "m", "files": files})
    assert response.status_code == 202
    assert jobs.input == {"collection": "m", "files": files}
    KINDS["ingest"].input.model_validate_json(jobs.submitted[0].input)


async def test_the_same_key_is_the_same_upload(http: httpx.AsyncClient, jobs: FakeJobs) -> None:
    key = {"Idempotency-Key": "once"}
    codes = [
        (await http.post("/v1/documents", files=A_FILE, headers=key)).status_code for _ in range(2)
    ]
    assert codes == [202, 200]
    assert jobs.submitted[0].input == jobs.submitted[1].input


BOUNDARY = "limit"
DISPOSITION = 'Content-Disposition: form-data; name="files"; filename="{}"'


def form(*parts: bytes, end: bytes = b"--limit--\r\n") -> bytes:
    return b"".join(b"--limit\r\n" + part + b"\r\n" for part in parts) + end


def part(name: bytes, data: bytes = b"x") -> bytes:
    head = b'Content-Disposition: form-data; name="files"; filename="' + name + b'"'
    return head + b"\r\n\r\n" + data


BAD_FORMS = [
    ("no part", form(), 400, "INVALID_FIELD", "files"),
    ("no end", form(part(b"a"), end=b""), 400, "INVALID_FORM", ""),
    ("another boundary", form(part(b"a")).replace(b"limit", b"other"), 400, "INVALID_FORM", ""),
    ("no form", b"\x00\xff" * 100, 400, "INVALID_FORM", ""),
    ("nothing", b"", 400, "INVALID_FORM", ""),
    ("bad UTF-8 in a name", form(part(b"\xff.txt")), 400, "INVALID_FIELD", "files[0].name"),
    ("upwards", form(part(b"../../etc/passwd")), 400, "INVALID_FIELD", "files[0].name"),
    ("upwards, Windows", form(part(b"a\\..\\b")), 400, "INVALID_FIELD", "files[0].name"),
    ("absolute", form(part(b"/etc/passwd")), 400, "INVALID_FIELD", "files[0].name"),
    ("no name", form(part(b"")), 400, "INVALID_FIELD", "files[0].name"),
    ("a NUL in a name", form(part(b"a\x00.txt")), 400, "INVALID_FIELD", "files[0].name"),
    ("a long name", form(part(b"a" * 513)), 400, "INVALID_FIELD", "files[0].name"),
    ("a second bad name", form(part(b"a"), part(b"..")), 400, "INVALID_FIELD", "files[1].name"),
    ("a file too large", form(part(b"a", b"x" * 1001)), 413, "FILE_TOO_LARGE", "files[0]"),
    ("all too large", form(*[part(b"a", b"x" * 900)] * 3), 413, "UPLOAD_TOO_LARGE", ""),
    ("too many", form(*[part(b"a")] * 4), 413, "TOO_MANY_FILES", "files"),
    (
        "an unknown field",
        form(b'Content-Disposition: form-data; name="colection"\r\n\r\nx'),
        400,
        "UNKNOWN_FIELD",
        "colection",
    ),
    (
        "a long field",
        form(b'Content-Disposition: form-data; name="scope"\r\n\r\n' + b"x" * 1025),
        400,
        "INVALID_FIELD",
        "scope",
    ),
    ("no disposition", form(b"A: b\r\n\r\nx"), 400, "INVALID_FORM", ""),
    ("many headers", form(b"A: b\r\n" * 1000 + b"\r\n\r\nx"), 400, "INVALID_FORM", ""),
    (
        "a bad time to live",
        form(part(b"a"), b'Content-Disposition: form-data; name="result_ttl_s"\r\n\r\nnan'),
        400,
        "INVALID_FIELD",
        "result_ttl_s",
    ),
]


@pytest.mark.parametrize(
    ("body", "status", "reason", "field"),
    [case[1:] for case in BAD_FORMS],
    ids=[case[0] for case in BAD_FORMS],
)
async def test_a_bad_form_is_a_problem_that_names_what_is_wrong(
    http: httpx.AsyncClient, jobs: FakeJobs, body: bytes, status: int, reason: str, field: str
) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=limit"}
    response = await http.post("/v1/documents", content=body, headers=headers)
    problem = response.json()
    assert (response.status_code, problem["reason"]) == (status, reason)
    assert problem.get("field", "") == field
    assert jobs.submitted == []


@pytest.mark.parametrize(
    ("content_type", "status", "reason"),
    [
        ("multipart/form-data", 400, "INVALID_FORM"),
        (f"multipart/form-data; boundary={'x' * 1000}", 400, "INVALID_FORM"),
        ("multipart/mixed; boundary=limit", 415, "NOT_DOCUMENTS"),
        ("application/x-www-form-urlencoded", 415, "NOT_DOCUMENTS"),
        ("", 415, "NOT_DOCUMENTS"),
    ],
)
async def test_a_body_of_another_type_is_refused(
    http: httpx.AsyncClient, content_type: str, status: int, reason: str
) -> None:
    headers = {"Content-Type": content_type}
    response = await http.post("/v1/documents", content=form(part(b"a")), headers=headers)
    assert (response.status_code, response.json()["reason"]) == (status, reason)


async def test_a_form_may_come_byte_by_byte(http: httpx.AsyncClient, jobs: FakeJobs) -> None:
    data = b"\r\n--limi\r\n--limit \r\n" * 10

    async def trickle() -> AsyncIterator[bytes]:
        for byte in form(part(b"\xc3\xa4.txt", data.replace(b"--limit ", b"--lim"))):
            yield bytes([byte])

    headers = {"Content-Type": 'multipart/form-data; boundary="limit"'}
    response = await http.post("/v1/documents", content=trickle(), headers=headers)
    assert response.status_code == 202, response.text
    file = jobs.input["files"][0]
    assert file["name"] == "ä.txt"
    assert base64.b64decode(file["content_base64"]) == data.replace(b"--limit ", b"--lim")


BAD_BODIES = [
    ({}, 400, "files"),
    ({"files": []}, 400, "files"),
    ({"files": [{"name": "a"}]}, 400, "files[0]"),
    ({"files": [{"name": "a", "content": "", "content_base64": ""}]}, 400, "files[0]"),
    ({"files": [{"name": "../a", "content": "x"}]}, 400, "files[0].name"),
    (
        {"files": [{"name": "a", "content": "x", "document_id": "a//b"}]},
        400,
        "files[0].document_id",
    ),
    ({"files": [{"name": "a", "content": 7}]}, 400, "files[0].content"),
    ({"files": [{"name": "a", "contents": "x"}]}, 400, "files[0].contents"),
    ({"files": [{"name": "a", "content": "x" * 1001}]}, 413, "files[0]"),
    ({"files": [{"name": "a", "content": "x"}] * 4}, 413, "files"),
    ({"files": [{"name": "a", "content": "x" * 900}] * 3}, 413, ""),
]


@pytest.mark.parametrize(("body", "status", "field"), BAD_BODIES)
async def test_bad_json_is_a_problem_that_names_what_is_wrong(
    http: httpx.AsyncClient, jobs: FakeJobs, body: Any, status: int, field: str
) -> None:
    response = await http.post("/v1/documents", json=body)
    assert (response.status_code, response.json().get("field", "")) == (status, field)
    assert jobs.submitted == []


async def test_the_largest_upload_fits_into_a_job(connection: Connection, jobs: FakeJobs) -> None:
    limits = Limits(max_file_bytes=MAX_UPLOAD_BYTES)
    setting = replace(SETTING, limits=limits)
    client = JobsClient(connection)
    async with edge_before(connection, jobs=client, setting=setting) as http:
        files = {"files": ("big.bin", b"\xff" * MAX_UPLOAD_BYTES, "application/pdf")}
        assert (await http.post("/v1/documents", files=files)).status_code == 202
        files = {"files": ("big.bin", b"\xff" * (MAX_UPLOAD_BYTES + 1), "application/pdf")}
        assert (await http.post("/v1/documents", files=files)).status_code == 413
    assert len(jobs.submitted[0].input) < 16 * 1024 * 1024


async def begun(http: httpx.AsyncClient) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """An upload of which no more comes."""
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    head = "POST /v1/documents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
    writer.write(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n".encode())
    await writer.drain()
    return reader, writer


async def test_files_that_do_not_come_are_not_waited_for(connection: Connection) -> None:
    setting = replace(SETTING, limits=replace(LIMITS, timeout_s=0.3))
    async with edge_before(connection, jobs=JobsClient(connection), setting=setting) as http:
        reader, writer = await begun(http)
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 10)
        writer.close()


async def test_as_many_uploads_are_read_at_once_as_there_is_memory_for(
    http: httpx.AsyncClient,
) -> None:
    async def answered(status: int) -> bool:
        response = await http.post("/v1/documents", files=A_FILE)
        return response.status_code == status

    _, writer = await begun(http)
    await until(lambda: answered(429))
    writer.close()
    await until(lambda: answered(202))


async def test_one_tenant_cannot_take_the_places_of_all_others(connection: Connection) -> None:
    limits = replace(LIMITS, max_uploads=2, max_tenant_uploads=1)
    setting = replace(SETTING, limits=limits, guests={"rival": caller("rival")})

    async with edge_before(connection, jobs=JobsClient(connection), setting=setting) as http:

        async def refused() -> dict[str, Any] | None:
            response = await http.post("/v1/documents", files=A_FILE)
            return response.json() if response.status_code == 429 else None

        _, writer = await begun(http)
        await until(refused)
        problem = await refused()
        assert problem is not None
        assert (problem["reason"], problem["field"]) == ("TOO_MANY_UPLOADS", "files")
        assert "at most 1 of one tenant" in problem["detail"]
        other = await http.post("/v1/documents", files=A_FILE, headers=as_("rival"))
        assert other.status_code == 202
        writer.close()


async def test_a_foreign_page_cannot_send_a_form(http: httpx.AsyncClient, jobs: FakeJobs) -> None:
    async def sent_from(origin: str) -> int:
        headers = {"Origin": origin}
        return (await http.post("/v1/documents", files=A_FILE, headers=headers)).status_code

    assert await sent_from("https://evil.example") == 403
    assert await sent_from("null") == 403
    assert jobs.submitted == []
    assert await sent_from("https://app.example") == 202
    assert await sent_from(str(http.base_url).rstrip("/")) == 202


async def test_uploading_takes_a_right_and_a_scope(http: httpx.AsyncClient) -> None:
    refused = await http.post("/v1/documents", files=A_FILE, headers=as_("reader"))
    assert (refused.status_code, refused.json()["reason"]) == (403, "MISSING_RIGHT")
    refused = await http.post(
        "/v1/documents", files=A_FILE, data={"scope": "board"}, headers=as_("clerk")
    )
    assert (refused.status_code, refused.json()["reason"]) == (403, "SCOPE_NOT_ALLOWED")
    assert (
        await http.post("/v1/documents", files=A_FILE, headers=as_("writer"))
    ).status_code == 202
