"""The WebSocket, over real HTTP and with a client library, before real jobs and growing runs."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from blockbuster import BlockBuster
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from libs.clients import Connection
from libs.server.testing import serving
from libs.values.jobs import Submission
from services.edge.access.gate import Gate
from services.edge.access.quota import Quota
from services.edge.access.tickets import Tickets
from services.edge.live.session import Terms
from tests.support.edge_process import edge_process
from tests.support.job_edge import DEFAULT, caller, edge_before, events_of
from tests.support.job_service import Jobs, jobs_running
from tests.support.runs import GrowingRuns
from tests.support.waiting import until

Message = dict[str, Any]
SETTING = replace(
    DEFAULT,
    origins=frozenset({"https://app.example"}),
    guests={
        "rival": caller("rival"),
        "reader": caller("acme", frozenset({"documents.read"})),
        "asker": caller("acme", frozenset({"answers"})),
        "clerk": caller("acme", scopes=frozenset({"hr"})),
    },
)


@pytest.fixture
def runs() -> GrowingRuns:
    return GrowingRuns()


@pytest.fixture
async def answers(runs: GrowingRuns) -> AsyncIterator[Connection]:
    async with serving(runs.register) as address, Connection.open(address) as opened:
        yield opened


@pytest.fixture
async def http(answers: Connection) -> AsyncIterator[httpx.AsyncClient]:
    async with edge_before(answers, setting=SETTING) as opened:
        yield opened


@pytest.fixture
async def jobs(redis_url: str, no_blocking: BlockBuster) -> AsyncIterator[Jobs]:
    async with jobs_running(redis_url, no_blocking) as running:
        yield running


@asynccontextmanager
async def opened(
    http: httpx.AsyncClient, token: str = "", **more: Any
) -> AsyncIterator[ClientConnection]:
    url = f"ws://127.0.0.1:{http.base_url.port}/v1/ws"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    options = {"proxy": None, "additional_headers": headers} | more
    async with connect(url, **options) as opened_:
        yield opened_


async def say(ws: ClientConnection, **message: Any) -> None:
    await ws.send(json.dumps(message))


async def hear(ws: ClientConnection) -> Message:
    message: Message = json.loads(await asyncio.wait_for(ws.recv(), 20))
    return message


async def heard(ws: ClientConnection) -> list[Message]:
    """All messages up to the last of the one subscription that there is."""
    found = [await hear(ws)]
    while found[-1]["type"] not in ("unsubscribed", "error"):
        found.append(await hear(ws))
    return found


async def closed(ws: ClientConnection) -> tuple[int, str, list[Message]]:
    """The code and the reason of a close, and what was said before it."""
    said = []
    try:
        while True:
            said.append(await hear(ws))
    except ConnectionClosed:
        return ws.close_code or 0, ws.close_reason or "", said


async def test_a_run_is_told_event_by_event(http: httpx.AsyncClient, runs: GrowingRuns) -> None:
    runs.begin("r1")
    async with opened(http) as ws:
        await say(ws, type="subscribe", run="r1")
        assert await hear(ws) == {"type": "subscribed", "run": "r1", "after": 0}
        plan = await hear(ws)
        assert (plan["type"], plan["run"], plan["id"], plan["event"]) == ("event", "r1", 1, "plan")
        assert plan["data"]["run_id"] == "r1"
        await runs.grow("r1", "Ä", "b")
        assert [(await hear(ws))["data"] for _ in range(2)] == [{"text": "Ä"}, {"text": "b"}]
        await runs.grow("r1", end=True)
        completed = await hear(ws)
        assert (completed["id"], completed["event"]) == (4, "completed")
        assert completed["data"]["latency"]["budget_ms"] == 700
        assert await hear(ws) == {"type": "unsubscribed", "run": "r1"}


async def test_a_job_is_told_as_its_event_stream_tells_it(answers: Connection, jobs: Jobs) -> None:
    submission = Submission("acme", "steps", b'{"count": 3}')
    job = (await jobs.client.submit(submission)).job
    async with edge_before(answers, jobs=jobs.client) as http, opened(http) as ws:
        await say(ws, type="subscribe", job=job.job_id)
        told = await heard(ws)
        streamed = events_of((await http.get(f"/v1/jobs/{job.job_id}/events")).text)
        again = [told[0], *told[3:]]
        await say(ws, type="subscribe", job=job.job_id, after=2)
        again[0] = again[0] | {"after": 2}
        assert await heard(ws) == again
    events = [each for each in told if each["type"] == "event"]
    assert [(str(each["id"]), each["event"], each["data"]) for each in events] == [
        (number, name, json.loads(data)) for number, name, data in streamed
    ]
    assert {each["job"] for each in told} == {job.job_id}


async def test_one_socket_follows_many(answers: Connection, jobs: Jobs, runs: GrowingRuns) -> None:
    ids = []
    for _ in range(5):
        submission = Submission("acme", "steps", b'{"count": 2}')
        ids.append((await jobs.client.submit(submission)).job.job_id)
    for number in range(5):
        runs.begin(f"r{number}")
        await runs.grow(f"r{number}", "a", end=True)
    async with edge_before(answers, jobs=jobs.client) as http, opened(http) as ws:
        for each in ids:
            await say(ws, type="subscribe", job=each)
        for number in range(5):
            await say(ws, type="subscribe", run=f"r{number}")
        numbers: dict[str, list[int]] = {}
        over: set[str] = set()
        while len(over) < 10:
            message = await hear(ws)
            name = message.get("job") or message.get("run") or ""
            if message["type"] == "event":
                numbers.setdefault(name, []).append(message["id"])
            elif message["type"] == "unsubscribed":
                over.add(name)
    assert all(seen == list(range(1, len(seen) + 1)) for seen in numbers.values())
    assert set(numbers) == over


async def test_a_client_that_is_cut_again_and_again_sees_each_event_once(
    http: httpx.AsyncClient, runs: GrowingRuns
) -> None:
    words = [f"w{number} " for number in range(300)]
    runs.begin("r1")
    chance = random.Random(7)  # noqa: S311 - the same cuts each time
    text, last, cuts = "", 0, 0

    async def grow() -> None:
        for start in range(0, 300, 10):
            await runs.grow("r1", *words[start : start + 10])
            await asyncio.sleep(0.002)
        await runs.grow("r1", end=True)

    growing = asyncio.create_task(grow())
    is_over = False
    while not is_over:
        async with opened(http) as ws:
            await say(ws, type="subscribe", run="r1", after=last)
            for _ in range(chance.randint(1, 40)):
                message = await hear(ws)
                if message["type"] == "event":
                    assert message["id"] == last + 1
                    last = message["id"]
                    text += message["data"].get("text", "") if message["event"] == "text" else ""
                is_over = message["type"] == "unsubscribed"
                if is_over:
                    break
            else:
                cuts += 1
                ws.transport.abort()
    await growing
    assert (text, last) == ("".join(words), 302)
    assert cuts > 5

    async def is_left() -> bool:
        return runs.watching == 0

    await until(is_left)


async def test_without_the_number_of_the_last_event_all_is_told_anew(
    http: httpx.AsyncClient, runs: GrowingRuns
) -> None:
    runs.begin("r1")
    await runs.grow("r1", "a", end=True)
    for after, numbers in ((0, [1, 2, 3]), (0, [1, 2, 3]), (2, [3]), (3, [])):
        async with opened(http) as ws:
            await say(ws, type="subscribe", run="r1", after=after)
            told = [each["id"] for each in await heard(ws) if each["type"] == "event"]
        assert told == numbers


async def test_what_is_unsubscribed_from_is_told_no_more(
    http: httpx.AsyncClient, runs: GrowingRuns
) -> None:
    runs.begin("r1")
    async with opened(http) as ws:
        await say(ws, type="subscribe", run="r1")
        assert [(await hear(ws))["type"] for _ in range(2)] == ["subscribed", "event"]
        await say(ws, type="unsubscribe", run="r1")
        assert await hear(ws) == {"type": "unsubscribed", "run": "r1"}
        await runs.grow("r1", "a")
        await say(ws, type="ping")
        assert await hear(ws) == {"type": "pong"}
        await say(ws, type="subscribe", run="r1", after=1)
        assert (await hear(ws))["type"] == "subscribed"
        assert (await hear(ws))["data"] == {"text": "a"}


async def test_what_cannot_be_followed_is_an_error_of_its_own(
    answers: Connection, jobs: Jobs, runs: GrowingRuns
) -> None:
    hidden = Submission("acme", "gate", b"{}", scope="board")
    job_id = (await jobs.client.submit(hidden)).job.job_id
    runs.begin("r1")

    async def refused(ws: ClientConnection, **subject: str) -> tuple[int, str]:
        await say(ws, type="subscribe", **subject)
        message = (await heard(ws))[-1]
        assert {key: message[key] for key in subject} == subject
        return message["problem"]["status"], message["problem"]["reason"]

    async with edge_before(answers, jobs=jobs.client, setting=SETTING) as http:
        async with opened(http) as ws:
            assert await refused(ws, job="never-was") == (404, "JOB_NOT_FOUND")
            assert await refused(ws, run="never-was") == (404, "RUN_NOT_FOUND")
            await say(ws, type="subscribe", run="r1")
            assert [(await hear(ws))["type"] for _ in range(2)] == ["subscribed", "event"]
            assert await refused(ws, run="r1") == (409, "ALREADY_SUBSCRIBED")
            await runs.grow("r1", "a")
            assert (await hear(ws))["data"] == {"text": "a"}
        async with opened(http, "rival") as ws:
            assert await refused(ws, job=job_id) == (404, "JOB_NOT_FOUND")
            assert await refused(ws, run="r1") == (404, "RUN_NOT_FOUND")
        async with opened(http, "clerk") as ws:
            assert await refused(ws, job=job_id) == (404, "JOB_NOT_FOUND")
        async with opened(http, "asker") as ws:
            assert await refused(ws, job=job_id) == (403, "MISSING_RIGHT")


async def test_without_a_jobs_service_jobs_are_an_error(http: httpx.AsyncClient) -> None:
    async with opened(http) as ws:
        await say(ws, type="subscribe", job="any")
        assert (await hear(ws))["problem"]["reason"] == "JOBS_NOT_CONFIGURED"


BAD = [
    "",
    "{",
    "[]",
    '"x"',
    "{}",
    '{"type": "shout"}',
    '{"type": "subscribe"}',
    '{"type": "subscribe", "job": "a", "run": "b"}',
    '{"type": "subscribe", "job": 7}',
    '{"type": "subscribe", "job": ""}',
    '{"type": "subscribe", "job": "a b"}',
    '{"type": "subscribe", "job": "a", "after": -1}',
    '{"type": "subscribe", "job": "a", "after": "1"}',
    '{"type": "subscribe", "job": "a", "after": 1e400}',
    '{"type": "subscribe", "job": "a", "before": 1}',
    '{"type": "ping", "job": "a"}',
    "[" * 4000,
    b"binary",
]


@pytest.mark.parametrize("message", BAD)
async def test_a_message_that_is_none_closes_the_socket(
    http: httpx.AsyncClient, message: str | bytes
) -> None:
    async with opened(http) as ws:
        await ws.send(message)
        code, reason, said = await closed(ws)
    assert (code, reason) == (4400, "BAD_MESSAGE")
    assert [each["problem"]["reason"] for each in said] == ["BAD_MESSAGE"]


async def test_a_message_that_is_too_long_or_not_text_closes_the_socket(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(http) as ws:
        await ws.send("x" * 5000)
        assert (await closed(ws))[0] == 1009
    async with opened(http) as ws:
        await ws.send(b"\xff\xfe", text=True)
        assert (await closed(ws))[0] == 1007
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(("token", "code"), [("nobody", 4401), ("reader", 4403)])
async def test_who_may_not_come_in_is_told_why(
    http: httpx.AsyncClient, token: str, code: int
) -> None:
    async with opened(http, token) as ws:
        found, reason, said = await closed(ws)
    assert found == code
    assert said[0]["problem"]["reason"] == reason


async def test_more_sockets_than_there_may_be_are_told_to_come_later(answers: Connection) -> None:
    setting = replace(SETTING, max_sockets=1)
    async with edge_before(answers, setting=setting) as http:
        async with opened(http) as first:
            await say(first, type="ping")
            await hear(first)
            async with opened(http) as second:
                code, reason, said = await closed(second)
            assert (code, reason) == (4429, "OVERLOADED")
            assert said[0]["problem"]["retry_after_s"] == 5
        async with opened(http) as third:
            await say(third, type="ping")
            assert await hear(third) == {"type": "pong"}


async def test_a_socket_is_one_of_the_tenants_streams_while_it_is_open(answers: Connection) -> None:
    setting = replace(SETTING, quota=Quota(streams=1))
    async with edge_before(answers, setting=setting) as http:
        async with opened(http) as first:
            await say(first, type="ping")
            await hear(first)
            async with opened(http) as second:
                assert (await closed(second))[:2] == (4429, "QUOTA_EXHAUSTED")
            async with opened(http, "rival") as foreign:
                await say(foreign, type="ping")
                assert await hear(foreign) == {"type": "pong"}

        async def is_free() -> bool:
            async with opened(http) as third:
                await say(third, type="ping")
                return bool((await hear(third))["type"] == "pong")

        await until(is_free)


async def test_a_page_of_another_site_gets_no_socket(http: httpx.AsyncClient) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        with pytest.raises(InvalidStatus) as refused:
            async with opened(http, origin=origin):
                pass
        assert refused.value.response.status_code == 403
        assert b"WRONG_ORIGIN" in refused.value.response.body
    for origin in ("https://app.example", f"http://127.0.0.1:{http.base_url.port}"):
        async with opened(http, origin=origin) as ws:
            await say(ws, type="ping")
            assert await hear(ws) == {"type": "pong"}


async def test_a_name_that_was_made_to_lead_here_gets_no_socket(http: httpx.AsyncClient) -> None:
    url = f"ws://localhost:{http.base_url.port}/v1/ws"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, proxy=None, host="127.0.0.1"):
            pass
    assert refused.value.response.status_code == 421


async def test_a_browser_offers_its_key_and_a_protocol_that_is_chosen(
    http: httpx.AsyncClient,
) -> None:
    async with opened(http, subprotocols=["hasten.v1", "hasten.key.secret"]) as ws:
        assert ws.subprotocol == "hasten.v1"
    async with opened(http, subprotocols=["hasten.key.secret"]) as ws:
        assert ws.subprotocol is None


async def test_a_ticket_opens_a_socket_where_no_header_can(
    answers: Connection, runs: GrowingRuns
) -> None:
    runs.begin("r1")
    tickets = Tickets(b"of a test")
    setting = replace(SETTING, gate=Gate(tickets=tickets))
    async with edge_before(answers, setting=setting) as http:
        url = f"ws://127.0.0.1:{http.base_url.port}/v1/ws"
        async with connect(f"{url}?ticket={tickets.issue(caller('acme'))}", proxy=None) as ws:
            await say(ws, type="subscribe", run="r1")
            assert (await hear(ws))["type"] == "subscribed"
        for stranger in (url, f"{url}?ticket=bought"):
            async with connect(stranger, proxy=None) as ws:
                assert (await closed(ws))[:2] == (4401, "UNAUTHENTICATED")


async def test_a_socket_follows_no_more_than_it_may(answers: Connection, runs: GrowingRuns) -> None:
    for number in range(3):
        runs.begin(f"r{number}")
    setting = replace(SETTING, terms=Terms(subscriptions=2))
    async with edge_before(answers, setting=setting) as http, opened(http) as ws:
        for number in range(3):
            await say(ws, type="subscribe", run=f"r{number}")
        messages = [await hear(ws) for _ in range(5)]
        (error,) = [each for each in messages if each["type"] == "error"]
        assert (error["run"], error["problem"]["reason"]) == ("r2", "TOO_MANY_SUBSCRIPTIONS")
        await runs.grow("r0", end=True)
        await say(ws, type="unsubscribe", run="r1")
        assert [(await hear(ws))["type"] for _ in range(3)]
        await say(ws, type="subscribe", run="r2")
        assert (await hear(ws))["type"] == "subscribed"


async def test_a_socket_that_says_too_much_is_closed(answers: Connection) -> None:
    setting = replace(SETTING, terms=Terms(messages_per_s=5.0))
    async with edge_before(answers, setting=setting) as http, opened(http) as ws:
        for _ in range(40):
            await say(ws, type="ping")
        code, reason, said = await closed(ws)
    assert (code, reason) == (4429, "TOO_MANY_MESSAGES")
    assert said[-1]["problem"]["reason"] == "TOO_MANY_MESSAGES"


async def test_a_socket_that_wants_nothing_is_closed(
    answers: Connection, runs: GrowingRuns
) -> None:
    runs.begin("r1")
    setting = replace(SETTING, terms=Terms(idle_s=1.0))
    async with edge_before(answers, setting=setting) as http:
        async with opened(http) as busy, opened(http) as idle:
            await say(busy, type="subscribe", run="r1")
            assert (await closed(idle))[:2] == (4408, "IDLE")
            await runs.grow("r1", "a")
            assert [(await hear(busy))["type"] for _ in range(3)] == [
                "subscribed",
                "event",
                "event",
            ]
            await say(busy, type="unsubscribe", run="r1")
            assert (await closed(busy))[:2] == (4408, "IDLE")


async def test_an_old_socket_is_to_be_opened_anew(answers: Connection, runs: GrowingRuns) -> None:
    runs.begin("r1")
    setting = replace(SETTING, terms=Terms(age_s=1.0))
    async with edge_before(answers, setting=setting) as http, opened(http) as ws:
        await say(ws, type="subscribe", run="r1")
        code, reason, said = await closed(ws)
    assert (code, reason) == (1012, "TOO_OLD")
    assert [each["type"] for each in said] == ["subscribed", "event"]


async def open_sockets(http: httpx.AsyncClient) -> int:
    """How many the edge has, as it counts them itself."""
    lines = (await http.get("/metrics")).text.splitlines()
    (line,) = [each for each in lines if each.startswith("hasten_edge_sockets_open ")]
    return int(float(line.split()[1]))


async def test_a_reader_that_takes_nothing_is_cut_and_nobody_else_notices(
    answers: Connection, runs: GrowingRuns
) -> None:
    runs.begin("r1")
    setting = replace(SETTING, terms=Terms(lag_s=0.3))
    async with edge_before(answers, setting=setting) as http:
        async with opened(http, max_queue=1) as stuck, opened(http) as quick:
            for ws in (stuck, quick):
                await say(ws, type="subscribe", run="r1")
                assert (await hear(ws))["type"] == "subscribed"
            assert (await hear(quick))["event"] == "plan"
            seen = 1
            stuck.transport.pause_reading()
            while await open_sockets(http) == 2:
                await runs.grow("r1", "x" * 50_000)
                assert (await hear(quick))["id"] == seen + 1
                seen += 1
                assert seen < 1000
            stuck.transport.resume_reading()
            assert (await closed(stuck))[:2] == (4408, "TOO_SLOW")
            await runs.grow("r1", end=True)
            assert (await hear(quick))["event"] == "completed"
        text = (await http.get("/metrics")).text
        assert 'hasten_edge_sockets_closed_total{code="4408"} 1.0' in text


async def test_without_a_limit_a_reader_that_takes_nothing_would_stay(
    answers: Connection, runs: GrowingRuns
) -> None:
    runs.begin("r1")
    setting = replace(SETTING, terms=Terms(lag_s=600.0))
    async with edge_before(answers, setting=setting) as http:
        async with opened(http, max_queue=1, close_timeout=0.1) as stuck, opened(http) as quick:
            for ws in (stuck, quick):
                await say(ws, type="subscribe", run="r1")
                assert (await hear(ws))["type"] == "subscribed"
            assert (await hear(quick))["event"] == "plan"
            stuck.transport.pause_reading()
            for seen in range(2, 202):
                await runs.grow("r1", "x" * 50_000)
                assert (await hear(quick))["id"] == seen
            assert await open_sockets(http) == 2


async def test_a_peer_that_is_gone_is_noticed(answers: Connection, runs: GrowingRuns) -> None:
    runs.begin("r1")
    setting = replace(SETTING, ping_every_s=0.8)
    async with edge_before(answers, setting=setting) as http:
        async with opened(http) as alive, opened(http, close_timeout=0.1) as dead:
            await say(alive, type="subscribe", run="r1")
            await say(dead, type="subscribe", run="r1")

            async def counts(expected: int) -> bool:
                return runs.watching == expected

            await until(lambda: counts(2))
            # It keeps its connection, and answers no ping.
            dead.transport.pause_reading()
            await until(lambda: counts(1))
            await say(alive, type="ping")
            kinds = [(await hear(alive))["type"] for _ in range(3)]
            assert kinds == ["subscribed", "event", "pong"]


async def test_who_hangs_up_is_forgotten(http: httpx.AsyncClient, runs: GrowingRuns) -> None:
    runs.begin("r1")

    async def counts(expected: int) -> bool:
        return runs.watching == expected

    async with opened(http) as ws:
        await say(ws, type="subscribe", run="r1")
        await until(lambda: counts(1))
    await until(lambda: counts(0))
    text = (await http.get("/metrics")).text
    assert "hasten_edge_sockets_open 0.0" in text


async def test_on_sigterm_sockets_are_told_to_connect_anew(runs: GrowingRuns) -> None:
    runs.begin("r1")
    async with (
        serving(runs.register) as target,
        edge_process(target, EDGE_TENANT="acme") as edge,
    ):
        async with connect(f"ws://127.0.0.1:{edge.port}/v1/ws", proxy=None) as ws:
            await say(ws, type="subscribe", run="r1")
            assert [(await hear(ws))["type"] for _ in range(2)] == ["subscribed", "event"]
            edge.process.send_signal(signal.SIGTERM)
            assert (await closed(ws))[0] == 1012
        assert await asyncio.wait_for(edge.process.wait(), 30) == 0


async def asked(url: str, count: int) -> list[float]:
    """Seconds that each request for a whole run took, least first."""
    took = []
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        for _ in range(count):
            started_s = time.perf_counter()
            assert "completed" in (await http.get(url)).text
            took.append(time.perf_counter() - started_s)
    return sorted(took)


@pytest.mark.prove
async def test_a_thousand_idle_sockets_cost_little_and_disturb_nobody(runs: GrowingRuns) -> None:
    sockets = 1000
    runs.begin("idle")
    runs.begin("over")
    await runs.grow("over", "a", "b", end=True)
    async with (
        serving(runs.register, max_concurrency=2 * sockets) as target,
        edge_process(target, EDGE_TENANT="acme", EDGE_PING_EVERY_S="5") as edge,
        AsyncExitStack() as stack,
    ):
        url = f"http://127.0.0.1:{edge.port}/v1/runs/over/events"
        await asked(url, 50)
        before_s = await asked(url, 200)
        memory = [await asyncio.to_thread(lambda: edge.resident_bytes)]
        opened_ = []
        for _ in range(sockets):
            ws = await stack.enter_async_context(
                connect(f"ws://127.0.0.1:{edge.port}/v1/ws", proxy=None, compression=None)
            )
            opened_.append(ws)
        memory.append(await asyncio.to_thread(lambda: edge.resident_bytes))
        for ws in opened_:
            await say(ws, type="subscribe", run="idle")
            assert (await hear(ws))["type"] == "subscribed"
            assert (await hear(ws))["event"] == "plan"
        memory.append(await asyncio.to_thread(lambda: edge.resident_bytes))
        await asyncio.sleep(6)  # every one of them is pinged meanwhile
        with_s = await asked(url, 200)
        started_s = time.perf_counter()
        await runs.grow("idle", "x")
        for ws in opened_:
            assert (await hear(ws))["data"] == {"text": "x"}
        told_s = time.perf_counter() - started_s
    bare, following = (memory[1] - memory[0]) / sockets, (memory[2] - memory[1]) / sockets
    print(
        f"{sockets} idle sockets: {bare / 1024:.1f} KiB each, {following / 1024:.1f} KiB more for "
        f"one that follows a run; a request p50 {before_s[100] * 1e3:.1f} -> "
        f"{with_s[100] * 1e3:.1f} ms, p95 {before_s[190] * 1e3:.1f} -> {with_s[190] * 1e3:.1f} ms; "
        f"one event told to all in {told_s * 1e3:.0f} ms"
    )
    assert bare < 64 * 1024
    assert with_s[100] < 2 * before_s[100] + 0.005
