"""Who may come in over HTTP, and how much: the edge as an operator starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.server.testing import serving
from services.edge.access.keys import digest_of, make_key
from tests.support.answering_edge import ASK, SSE, Orchestrator, events_of
from tests.support.edge_process import edge_process

ALL_KEY, ALL_ID = make_key()
FEW_KEY, FEW_ID = make_key()
ROWS = [
    {"id": ALL_ID, "sha256": digest_of(ALL_KEY), "tenant": "acme"},
    {
        "id": FEW_ID,
        "sha256": digest_of(FEW_KEY),
        "tenant": "other",
        "rights": ["documents.read"],
        "document_scopes": ["public"],
    },
]
QUOTAS = """
[default]
requests_per_minute = 1000

[tenants.other]
requests_per_minute = 2
"""
ORIGIN = "https://app.example.com"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@asynccontextmanager
async def guarded(folder: Path, target: str) -> AsyncIterator[httpx.AsyncClient]:
    """An edge that asks who its callers are, and a client of it."""
    given = {
        "EDGE_KEYS_FILE": str(folder / "keys.json"),
        "EDGE_QUOTAS_FILE": str(folder / "quotas.toml"),
        "EDGE_CORS_ORIGINS": ORIGIN,
    }
    async with edge_process(target, **given) as edge:
        url = f"http://127.0.0.1:{edge.port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
            yield http


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "keys.json").write_text(json.dumps(ROWS))
    (tmp_path / "quotas.toml").write_text(QUOTAS)
    return tmp_path


@pytest.fixture
def orchestrator() -> Orchestrator:
    return Orchestrator()


@pytest.fixture
async def http(folder: Path, orchestrator: Orchestrator) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(orchestrator.register) as target, guarded(folder, target) as client:
        yield client


async def test_the_door_opens_to_a_key_and_to_nothing_else(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    nobody = await http.post("/v1/answers", json=ASK)
    assert (nobody.status_code, nobody.json()["reason"]) == (401, "UNAUTHENTICATED")
    assert nobody.headers["www-authenticate"] == 'Bearer realm="hasten"'
    wrong = await http.post("/v1/answers", json=ASK, headers=bearer(ALL_KEY[:-1]))
    assert wrong.status_code == 401
    assert orchestrator.asked is None
    known = await http.post("/v1/answers", json=ASK, headers=bearer(ALL_KEY))
    assert known.status_code == 200
    assert orchestrator.asked is not None
    assert orchestrator.asked.tenant_id == "acme"
    assert known.headers["ratelimit-policy"] == '"requests";q=1000;w=60'
    # What says that the edge is alive is for everyone.
    assert (await http.get("/healthz")).status_code == 200


async def test_a_key_opens_what_it_may_and_a_quota_ends(http: httpx.AsyncClient) -> None:
    refused = await http.post("/v1/answers", json=ASK, headers=bearer(FEW_KEY))
    assert (refused.status_code, refused.json()["reason"]) == (403, "MISSING_RIGHT")
    for _ in range(2):
        assert (await http.post("/v1/tickets", headers=bearer(FEW_KEY))).status_code == 201
    over = await http.post("/v1/tickets", headers=bearer(FEW_KEY))
    assert (over.status_code, over.json()["reason"]) == (429, "QUOTA_EXHAUSTED")
    assert 1 <= int(over.headers["retry-after"]) <= 30
    assert (await http.post("/v1/tickets", headers=bearer(ALL_KEY))).status_code == 201


async def test_a_ticket_stands_for_its_owner_in_a_url(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    made = (await http.post("/v1/tickets", headers=bearer(ALL_KEY))).json()
    params = {"ticket": made["ticket"]}
    async with http.stream("POST", "/v1/answers", json=ASK, headers=SSE, params=params) as response:
        assert response.status_code == 200
        text = "".join([part async for part in response.aiter_text()])
    assert events_of(text)[-1][1] == "completed"
    params = {"ticket": made["ticket"] + "x"}
    assert (await http.post("/v1/answers", json=ASK, params=params)).status_code == 401


async def test_a_ticket_gets_no_other_ticket(http: httpx.AsyncClient) -> None:
    made = (await http.post("/v1/tickets", headers=bearer(ALL_KEY))).json()
    again = await http.post("/v1/tickets", params={"ticket": made["ticket"]})
    assert (again.status_code, again.json()["reason"]) == (403, "TICKET_FOR_TICKET")


async def test_pages_of_the_list_may_call_and_others_may_not(http: httpx.AsyncClient) -> None:
    asked: dict[str, Any] = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
    }
    allowed = await http.options("/v1/answers", headers=asked | {"Origin": ORIGIN})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    headers = bearer(ALL_KEY) | {"Origin": ORIGIN}
    answered = await http.post("/v1/answers", json=ASK, headers=headers)
    assert "X-Run-Id" in answered.headers["access-control-expose-headers"]
    for refused in (
        await http.post("/v1/answers", json=ASK, headers={"Origin": ORIGIN}),
        await http.get("/nowhere", headers={"Origin": ORIGIN}),
    ):
        assert refused.headers["access-control-allow-origin"] == ORIGIN
    other = await http.options("/v1/answers", headers=asked | {"Origin": "https://evil.example"})
    assert other.status_code == 400
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"EDGE_ADDRESS": "0.0.0.0:0"}, "EDGE_ALLOW_OPEN=true"),
        ({"EDGE_JWKS": "https://id.example.com/keys"}, "EDGE_JWT_ISSUER"),
        ({"EDGE_KEYS_IN_REDIS": "true"}, "EDGE_REDIS_URL"),
        ({"EDGE_KEYS_FILE": "/nowhere"}, "EDGE_KEYS_FILE="),
    ],
)
def test_a_door_that_is_left_open_by_oversight_does_not_open(
    env: dict[str, str], says: str
) -> None:
    command = [sys.executable, "-m", "services.edge"]
    given = os.environ | {"EDGE_ADDRESS": "127.0.0.1:0"} | env
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert says in done.stderr
