"""Who a caller is, by key and by ticket."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster
from redis.asyncio import Redis
from starlette.datastructures import Headers, QueryParams

from libs.config import ConfigError
from libs.redislink import open_redis
from services.edge.access.caller import Caller
from services.edge.access.gate import SUBPROTOCOL, Gate
from services.edge.access.keys import TABLE, KeyFile, KeyTable, digest_of, id_of, make_key
from services.edge.access.quota import Quota
from services.edge.access.tickets import LIVES_S, Tickets
from services.edge.problem import ProblemError
from tests.support.blocking import blocking

NOW_S = 1_800_000_000.0


class Clock:
    def __init__(self, now_s: float = NOW_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


KEY, KEY_ID = make_key()


def row(**given: Any) -> dict[str, Any]:
    return {
        "id": KEY_ID,
        "sha256": digest_of(KEY),
        "tenant": "acme",
        "rights": ["answers"],
        "document_scopes": ["public"],
    } | given


@pytest.fixture
def gate_of(tmp_path: Path) -> Any:
    def make(*rows: dict[str, Any]) -> Gate:
        path = tmp_path / "keys.json"
        path.write_text(json.dumps(rows))
        return Gate(keys=KeyFile(path), tickets=Tickets(b"a-secret", Clock()), clock=Clock())

    return make


async def refusal(gate: Gate, headers: dict[str, str], query: str = "") -> tuple[int, str]:
    with pytest.raises(ProblemError) as caught:
        await gate.caller_of(Headers(headers), QueryParams(query))
    return caught.value.problem.status, caught.value.problem.reason


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_names_itself_and_nothing_else() -> None:
    assert id_of(KEY) == KEY_ID
    assert id_of("sk-something") == id_of("hst_only") == id_of("") == ""
    assert id_of(f"hst_{'a' * 65}_made-up") == ""
    assert len({make_key()[0] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "headers",
    [
        bearer(KEY),
        {"Authorization": f"bearer  {KEY}"},
        {"X-API-Key": KEY},
        {"Sec-WebSocket-Protocol": f"hasten.v1, {SUBPROTOCOL}{KEY}"},
    ],
)
async def test_a_key_is_known_wherever_it_stands(
    gate_of: Any, no_blocking: BlockBuster, headers: dict[str, str]
) -> None:
    with blocking(no_blocking):
        gate = gate_of(row())
    caller = await gate.caller_of(Headers(headers))
    assert (caller.tenant_id, caller.name) == ("acme", f"key {KEY_ID}")
    assert (caller.rights, caller.document_scopes) == ({"answers"}, {"public"})


@pytest.mark.parametrize(
    "spoilt",
    [
        {"sha256": digest_of("hst_x_another")},
        {"disabled": True},
        {"expires": "2027-01-15T07:59:59+00:00"},  # a second before now
        {"not_before": "2027-01-15T08:00:01"},  # a second after, in UTC
    ],
)
async def test_a_key_that_does_not_hold_is_not_known(
    gate_of: Any, no_blocking: BlockBuster, spoilt: dict[str, Any]
) -> None:
    with blocking(no_blocking):
        gate = gate_of(row(**spoilt))
    assert await refusal(gate, bearer(KEY)) == (401, "UNAUTHENTICATED")


async def test_the_times_of_a_key_hold_until_then(gate_of: Any, no_blocking: BlockBuster) -> None:
    with blocking(no_blocking):
        gate = gate_of(row(not_before="2027-01-15T08:00:00Z", expires="2027-01-15T08:00:01Z"))
    assert (await gate.caller_of(Headers(bearer(KEY)))).tenant_id == "acme"


@pytest.mark.parametrize(
    ("headers", "query"),
    [({}, ""), ({"Authorization": "Basic x"}, ""), (bearer("hst_0_x"), ""), ({}, "ticket=x.y")],
)
async def test_nobody_is_refused(
    gate_of: Any, no_blocking: BlockBuster, headers: dict[str, str], query: str
) -> None:
    with blocking(no_blocking):
        gate = gate_of(row())
    assert await refusal(gate, headers, query) == (401, "UNAUTHENTICATED")


async def test_a_file_that_changes_is_read_again_and_nonsense_changes_nothing(
    tmp_path: Path, no_blocking: BlockBuster
) -> None:
    path, clock = tmp_path / "keys.json", Clock()

    def put(text: str) -> None:
        other = tmp_path / "new"
        other.write_text(text)
        os.replace(other, path)  # noqa: PTH105 - as one step, as an operator should

    with blocking(no_blocking):
        put(json.dumps([row()]))
        keys = KeyFile(path, clock)
        put("{")
    clock.now_s += 2
    assert await keys.row_of(KEY_ID) is not None
    await asyncio.to_thread(put, json.dumps([row(disabled=True)]))
    clock.now_s += 2
    found = await keys.row_of(KEY_ID)
    assert found is not None
    assert found.disabled


@pytest.mark.parametrize("text", ["{", "{}", '[{"id": "a"}]', json.dumps([row(rights=["all"])])])
def test_a_file_that_cannot_be_read_ends_the_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="EDGE_KEYS_FILE="):
        KeyFile(path)


async def test_a_key_of_redis_is_known_and_forgotten_within_seconds(redis_url: str) -> None:
    clock = Clock()
    redis: Redis = open_redis(redis_url, timeout_s=2.0)
    keys = KeyTable(redis, limit_s=2.0, clock=clock)
    await redis.hset(TABLE, KEY_ID, json.dumps(row()))
    assert await keys.row_of(KEY_ID) is not None
    await redis.hdel(TABLE, KEY_ID)
    clock.now_s += 4.9
    assert await keys.row_of(KEY_ID) is not None
    clock.now_s += 0.2
    assert await keys.row_of(KEY_ID) is None
    await redis.aclose()


async def test_while_redis_is_gone_known_keys_go_on_and_others_may_come_again(
    redis_url: str,
) -> None:
    clock = Clock()
    redis: Redis = open_redis(redis_url, timeout_s=2.0)
    keys = KeyTable(redis, limit_s=2.0, clock=clock)
    await redis.hset(TABLE, KEY_ID, json.dumps(row()))
    await keys.row_of(KEY_ID)
    gone: Redis = open_redis("redis://127.0.0.1:1/0", timeout_s=0.2)
    keys._redis = gone  # noqa: SLF001 - as if the server behind it was gone
    clock.now_s += 60
    assert await keys.row_of(KEY_ID) is not None
    clock.now_s += 600
    for asked in ("another", KEY_ID):
        with pytest.raises(ProblemError):
            await keys.row_of(asked)
    with pytest.raises(ProblemError) as caught:
        await keys.row_of("another")
    assert (caught.value.problem.status, caught.value.problem.retry_after_s) == (503, 1.0)
    await redis.aclose()
    await gone.aclose()


CALLER = Caller(
    "acme", "key 1", frozenset({"jobs"}), frozenset({"public"}), Quota(requests_per_minute=2)
)


def test_a_ticket_is_worth_a_minute() -> None:
    clock = Clock()
    ticket = Tickets(b"a-secret", clock).issue(CALLER)
    elsewhere = Tickets(b"a-secret", clock)
    clock.now_s += LIVES_S - 1
    assert elsewhere.caller_of(ticket) == CALLER
    clock.now_s += 2
    assert elsewhere.caller_of(ticket) is None


def test_a_ticket_that_was_changed_is_none() -> None:
    tickets = Tickets(b"a-secret", Clock())
    body, _, seal = tickets.issue(CALLER).partition(".")
    more = Tickets(b"a-secret", Clock()).issue(Caller("other", "k", frozenset({"*"}), frozenset()))
    for forged in (f"{more.partition('.')[0]}.{seal}", f"{body}.", "x", "", f"{body}.{seal}é"):
        assert tickets.caller_of(forged) is None
    assert Tickets(b"another", Clock()).caller_of(f"{body}.{seal}") is None


async def test_a_ticket_lets_in_with_what_its_owner_may(
    gate_of: Any, no_blocking: BlockBuster
) -> None:
    with blocking(no_blocking):
        gate = gate_of(row())
    ticket = Tickets(b"a-secret", Clock()).issue(CALLER)
    assert await gate.caller_of(Headers(), QueryParams({"ticket": ticket})) == CALLER


def test_a_caller_may_what_it_may() -> None:
    CALLER.require("jobs")
    CALLER.check_scope("public")
    CALLER.check_scope("")
    with pytest.raises(ProblemError, match="answers"):
        CALLER.require("answers")
    with pytest.raises(ProblemError, match="scope: secret"):
        CALLER.check_scope("secret")
