"""Runs over real HTTP, before orchestrators that share them and come and go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.types import Message

from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.server.testing import serving
from libs.values import (
    AnswerEvent,
    CacheControl,
    CacheHit,
    CacheLayer,
    Completed,
    HopAccount,
    Question,
    Revised,
    Sources,
    TextDelta,
    Usage,
)
from services.edge.access.caller import Caller, anyone
from services.edge.access.quota import Plans, Quota
from services.edge.access.quotas import Quotas
from services.edge.answers.answering import Answering, Pace
from services.edge.problem import ProblemError
from services.edge.web.exchange import Exchange
from services.edge.web.metrics import EdgeMetrics
from services.edge.web.sse import EventStream, Flow, ReaderTooSlowError
from tests.support.edges import (
    ACCOUNT,
    COMPLETED,
    PACE,
    PLAN,
    SSE,
    Edge,
    Frames,
    Replica,
    Story,
    frames_of,
    open_edge,
    text_of,
)
from tests.support.waiting import until

QUESTION = Question("acme", "Why is the sky blue?", resumable=True)
ASK = {"question": "Why is the sky blue?", "resumable": True}
TEXTS = tuple(map(TextDelta, ("Because ", "of ", "scattering", ".")))
EVENTS = "/v1/runs/run-1/events"


def hurried() -> float:
    """Seconds that pass a hundred times as fast."""
    return time.monotonic() * 100


@pytest.fixture
def story() -> Story:
    return Story([PLAN, *TEXTS])


@pytest.fixture
def replicas(story: Story) -> list[Replica]:
    return [Replica(story), Replica(story)]


@asynccontextmanager
async def edges(
    replicas: list[Replica],
    *,
    tenant: str = "acme",
    pace: Pace = PACE,
    flow: Flow | None = None,
    clock: Callable[[], float] = time.monotonic,
    first_only: bool = False,
    quotas: Quotas | None = None,
) -> AsyncIterator[Edge]:
    """An edge that knows both orchestrators, or the first alone."""
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(serving(each.register)) for each in replicas]
        target = addresses[0] if first_only else "ipv4:" + ",".join(addresses)
        connection = await stack.enter_async_context(Connection.open(target))
        yield await stack.enter_async_context(
            open_edge(
                connection,
                tenant=tenant,
                pace=pace,
                clock=clock,
                flow=flow or Flow(0.001, 0.001),
                quotas=quotas,
            )
        )


@pytest.fixture
async def http(replicas: list[Replica]) -> AsyncIterator[httpx.AsyncClient]:
    async with edges(replicas) as edge:
        yield edge.http


async def read(http: httpx.AsyncClient, path: str, **headers: str) -> Frames:
    response = await http.get(path, headers=SSE | headers)
    assert response.status_code == 200, response.text
    return frames_of(response.text)


def numbers(frames: Frames) -> list[str]:
    return [number for number, _, _ in frames]


async def text_seen(lines: AsyncIterator[str], wanted: str) -> str:
    """Read a stream until a text is there, and return all that was read."""
    seen = ""
    async with asyncio.timeout(10):
        while wanted not in seen:
            seen += await anext(lines) + "\n"
    return seen


# -- following ---------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 3, 5])
@pytest.mark.parametrize("by", ["header", "query"])
async def test_a_run_is_read_from_any_event_on(
    http: httpx.AsyncClient, story: Story, after: int, by: str
) -> None:
    story.tell(COMPLETED)
    path = f"{EVENTS}?after={after}" if by == "query" else EVENTS
    headers = {"Last-Event-ID": str(after)} if by == "header" else {}
    frames = await read(http, path, **headers)
    assert numbers(frames) == [str(number) for number in range(after + 1, 7)]
    assert frames[-1][1] == "completed"


async def test_what_a_browser_says_when_it_comes_again_wins_over_its_address(
    http: httpx.AsyncClient, story: Story
) -> None:
    story.tell(COMPLETED)
    frames = await read(http, f"{EVENTS}?after=1", **{"Last-Event-ID": "4"})
    assert numbers(frames) == ["5", "6"]


async def test_a_run_that_goes_on_is_followed_to_its_end(
    http: httpx.AsyncClient, story: Story
) -> None:
    async with http.stream("GET", f"{EVENTS}?after=2", headers=SSE) as response:
        assert response.headers["x-run-id"] == "run-1"
        lines = response.aiter_lines()
        seen = await text_seen(lines, '"."')
        story.tell(TextDelta(" And"), COMPLETED)
        seen += "\n".join([line async for line in lines])
    assert numbers(frames_of(seen)) == ["3", "4", "5", "6", "7"]
    assert seen.startswith("retry: 1000\n")


async def test_who_has_seen_the_end_is_told_not_to_come_again(
    http: httpx.AsyncClient, story: Story
) -> None:
    story.tell(COMPLETED)
    response = await http.get(EVENTS, headers=SSE | {"Last-Event-ID": "6"})
    assert (response.status_code, response.text) == (204, "")


async def test_who_has_seen_more_than_is_left_of_a_dead_run_gets_it_anew(
    http: httpx.AsyncClient, story: Story
) -> None:
    story.events[4:] = [COMPLETED]
    frames = await read(http, EVENTS, **{"Last-Event-ID": "40"})
    assert frames[0] == ("", "revised", {"reason": "RUN_INTERRUPTED"})
    assert numbers(frames[1:]) == ["1", "2", "3", "4", "5"]
    assert text_of(frames) == "Because of scattering"


async def test_a_run_that_was_seen_is_waited_for_until_it_is_written_down(
    http: httpx.AsyncClient, story: Story, replicas: list[Replica]
) -> None:
    story.tell(COMPLETED)
    for replica in replicas:
        replica.is_forgotten = True
    reading = asyncio.create_task(read(http, EVENTS, **{"Last-Event-ID": "5"}))
    await asyncio.sleep(0.1)
    for replica in replicas:
        replica.is_forgotten = False
    assert numbers(await reading) == ["6"]


async def test_an_end_is_not_taken_for_a_text_of_its_place(
    http: httpx.AsyncClient, story: Story
) -> None:
    """Whoever has seen one text more than is left is not told that there is no more."""
    story.events[4:] = [COMPLETED]
    story.number_of_end = 1_000_005
    frames = await read(http, EVENTS, **{"Last-Event-ID": "5"})
    assert [name for _, name, _ in frames[:2]] == ["revised", "plan"]
    assert (frames[-1][0], text_of(frames)) == ("1000005", "Because of scattering")
    response = await http.get(EVENTS, headers=SSE | {"Last-Event-ID": "1000005"})
    assert response.status_code == 204


@pytest.mark.parametrize("said", ["x", "-1", "1.5", "9" * 30, "9" * 5000])
async def test_a_number_that_is_none_is_a_problem(http: httpx.AsyncClient, said: str) -> None:
    response = await http.get(EVENTS, headers=SSE | {"Last-Event-ID": said})
    assert (response.status_code, response.json()["field"]) == (400, "after")


@pytest.mark.parametrize("path", ["", "/events", "/stop", "/feedback"])
@pytest.mark.parametrize("run", ["run-2", "%20", "x" * 65])
async def test_a_run_that_is_not_there_is_not_found(
    http: httpx.AsyncClient, path: str, run: str
) -> None:
    response = await call(http, f"/v1/runs/{run}{path}")
    assert (response.status_code, response.json()["reason"]) == (404, "RUN_NOT_FOUND")


@pytest.mark.parametrize("path", ["", "/events", "/stop", "/feedback"])
async def test_a_run_of_another_tenant_is_not_found(replicas: list[Replica], path: str) -> None:
    async with edges(replicas, tenant="rival") as edge:
        response = await call(edge.http, f"/v1/runs/run-1{path}")
    assert (response.status_code, response.json()["reason"]) == (404, "RUN_NOT_FOUND")


async def call(http: httpx.AsyncClient, path: str) -> httpx.Response:
    if path.endswith("/feedback"):
        return await http.post(path, json={"verdict": "bad"})
    return await (http.post(path) if path.endswith("/stop") else http.get(path))


# -- looking, ending, judging ------------------------------------------------------------


async def test_a_run_that_goes_on_can_be_looked_at(http: httpx.AsyncClient) -> None:
    state = (await http.get("/v1/runs/run-1")).json()
    assert (state["state"], state["last_event_id"], state["run_id"]) == ("running", 5, "run-1")
    assert state["answer"] == "Because of scattering."
    assert "finish_reason" not in state


async def test_a_run_that_has_ended_is_a_whole_answer(
    http: httpx.AsyncClient, story: Story
) -> None:
    story.tell(COMPLETED)
    state = (await http.get("/v1/runs/run-1")).json()
    assert (state["state"], state["last_event_id"]) == ("ended", 6)
    assert (state["answer"], state["quality"]) == ("Because of scattering.", "full")
    assert state["latency"]["budget_ms"] == 700


async def test_a_run_is_ended(http: httpx.AsyncClient, replicas: list[Replica]) -> None:
    assert (await http.post("/v1/runs/run-1/stop")).json() == {"stopping": True}
    assert [each for replica in replicas for each in replica.stopped] == ["run-1"]


@pytest.mark.parametrize(("verdict", "removed"), [("good", False), ("bad", True)])
async def test_an_answer_is_judged(
    http: httpx.AsyncClient,
    verdict: str,
    removed: bool,  # noqa: FBT001
) -> None:
    response = await http.post("/v1/runs/run-1/feedback", json={"verdict": verdict})
    assert response.json() == {"removed": removed}


async def test_a_verdict_is_good_or_bad(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/runs/run-1/feedback", json={"verdict": "fine"})
    assert (response.status_code, response.json()["field"]) == (400, "verdict")


# -- orchestrators that die --------------------------------------------------------------


async def asked_and_broken(
    edge: Edge, replicas: list[Replica], body: dict[str, object]
) -> tuple[str, AsyncIterator[str], AsyncExitStack]:
    """Ask, read all the text there is, and break whoever tells it."""
    stack = AsyncExitStack()
    asking = edge.http.stream("POST", "/v1/answers", json=body, headers=SSE)
    response = await stack.enter_async_context(asking)
    lines = response.aiter_lines()
    seen = await text_seen(lines, '"."')
    next(each for each in replicas if each.asked).break_off()
    return seen, lines, stack


async def test_a_run_whose_orchestrator_is_lost_is_read_on_elsewhere(
    replicas: list[Replica], story: Story
) -> None:
    async with edges(replicas) as edge:
        seen, lines, stack = await asked_and_broken(edge, replicas, ASK)
        async with stack:
            story.tell(TextDelta(" And so on."), COMPLETED)
            seen += "\n".join([line async for line in lines])
    frames = frames_of(seen)
    assert numbers(frames) == ["1", "2", "3", "4", "5", "6", "7"]
    assert text_of(frames) == "Because of scattering. And so on."


async def test_what_was_never_written_down_is_withdrawn(
    replicas: list[Replica], story: Story
) -> None:
    story.logged = 3
    async with edges(replicas) as edge:
        seen, lines, stack = await asked_and_broken(edge, replicas, ASK)
        async with stack:
            story.events[3:] = [COMPLETED]
            story.logged = None
            story.changed()
            seen += "\n".join([line async for line in lines])
    frames = frames_of(seen)
    assert text_of(frames) == "Because of "
    assert [name for _, name, _ in frames[5:7]] == ["revised", "plan"]


async def test_a_run_that_is_not_resumable_ends_with_its_orchestrator(
    replicas: list[Replica],
) -> None:
    async with edges(replicas) as edge:
        body = ASK | {"resumable": False}
        seen, lines, stack = await asked_and_broken(edge, replicas, body)
        async with stack:
            seen += "\n".join([line async for line in lines])
    number, name, problem = frames_of(seen)[-1]
    assert (number, name, problem["status"]) == ("", "error", 503)
    assert "resume_at" not in problem


async def test_a_run_that_nobody_knows_more_of_says_where_to_read_on(
    replicas: list[Replica],
) -> None:
    async with edges(replicas, clock=hurried, first_only=True) as edge:
        seen, lines, stack = await asked_and_broken(edge, replicas, ASK)
        async with stack:
            seen += "\n".join([line async for line in lines])
    _, name, problem = frames_of(seen)[-1]
    assert (name, problem["status"], problem["resume_at"]) == ("error", 503, EVENTS)


async def test_a_run_that_was_lost_before_it_was_written_down_cannot_be_read_on(
    replicas: list[Replica],
) -> None:
    async with edges(replicas) as edge:
        seen, lines, stack = await asked_and_broken(edge, replicas, ASK)
        for replica in replicas:
            replica.is_forgotten = True
        async with stack:
            seen += "\n".join([line async for line in lines])
    _, name, problem = frames_of(seen)[-1]
    assert (name, problem["status"], problem["reason"]) == ("error", 503, "UNREACHABLE")
    assert "resume_at" not in problem


@pytest.mark.parametrize("resumable", [True, False])
async def test_the_tokens_of_a_run_count_though_its_reader_left(
    replicas: list[Replica],
    story: Story,
    resumable: bool,  # noqa: FBT001
) -> None:
    quotas = Quotas(Plans(Quota(tokens_per_day=100)))
    body = ASK | {"resumable": resumable}
    async with edges(replicas, quotas=quotas) as edge:
        async with edge.http.stream("POST", "/v1/answers", json=body, headers=SSE) as response:
            await text_seen(response.aiter_lines(), '"."')
        await until(lambda: is_cancelled(replicas))
        story.tell(replace(COMPLETED, usage=Usage(90, 20)))

        async def is_refused() -> bool:
            return (await edge.http.post("/v1/answers", json=body)).status_code == 429

        await until(is_refused)


async def test_the_tokens_of_a_run_count_though_its_reader_left_at_its_last_event(
    replicas: list[Replica], story: Story
) -> None:
    story.tell(replace(COMPLETED, usage=Usage(90, 20)))
    quotas, caller = Quotas(Plans(Quota(tokens_per_day=100))), anyone("acme")

    async def take(numbered: AnswerEvent) -> None:
        if isinstance(numbered.event, Completed):
            raise ReaderTooSlowError

    async def is_refused() -> bool:
        try:
            async with quotas.within(caller, streaming=False):
                return False
        except ProblemError:
            return True

    async with serving(replicas[0].register) as address, Connection.open(address) as connection:
        metrics = EdgeMetrics(CollectorRegistry())
        answering = Answering(AnswerClient(connection), PACE, metrics, time.monotonic, quotas)
        with pytest.raises(ReaderTooSlowError):
            await answering.run(asked_by(caller), QUESTION, None, take)
        await until(is_refused)


def asked_by(caller: Caller) -> Exchange:
    async def send(_: Message) -> None: ...

    request = Request({"type": "http", "headers": []})
    return Exchange(request, EventStream(send), time.monotonic(), 1000, 1.0, caller)


async def is_cancelled(replicas: list[Replica]) -> bool:
    return any(each.cancelled.is_set() for each in replicas)


async def test_a_caller_that_does_not_wait_for_the_end_is_told_where_it_is(
    replicas: list[Replica],
) -> None:
    async with edges(replicas, pace=replace(PACE, max_deadline_s=0.3)) as edge:
        frames = await read(edge.http, EVENTS)
    _, name, problem = frames[-1]
    assert (name, problem["status"], problem["resume_at"]) == ("error", 504, EVENTS)


async def test_streams_are_told_when_their_edge_ends(replicas: list[Replica], story: Story) -> None:
    async with edges(replicas) as edge:
        async with edge.http.stream("GET", EVENTS, headers=SSE) as response:
            lines = response.aiter_lines()
            seen = await text_seen(lines, '"."')
            edge.streams.go_away(2.0)
            seen += await text_seen(lines, "goaway")
            story.tell(COMPLETED)
            seen += "\n".join([line async for line in lines])
    frames = frames_of(seen)
    assert frames[-2] == ("", "goaway", {"time_left_ms": 2000})
    assert frames[-1][:2] == ("6", "completed")


# -- slow readers ------------------------------------------------------------------------


async def test_a_slow_reader_is_cut_and_nobody_else_notices(
    replicas: list[Replica], story: Story
) -> None:
    story.tell(*[Sources((), 1, "x" * 10_000)] * 400, COMPLETED)
    flow = Flow(0.001, 0.001, buffer_bytes=10_000, stall_s=0.3)
    async with edges(replicas, flow=flow) as edge:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, limit=1024)
        head = f"GET {EVENTS} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        writer.write(head.encode())
        await reader.readexactly(1)
        assert len(await read(edge.http, EVENTS)) == 406
        # It takes nothing until it is cut off; what is in the system's buffers is left.
        await until(lambda: has_cut_one(edge.http))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(4_000_000), 10)
        writer.close()


async def has_cut_one(http: httpx.AsyncClient) -> bool:
    counted = 'hasten_edge_readers_cut_total{operation="followRun"} 1.0'
    return counted in (await http.get("/metrics")).text


# -- what headers say --------------------------------------------------------------------

HIT = CacheHit(CacheLayer.SEMANTIC, 0.97, 12.7, "run-0")


@pytest.mark.parametrize(
    ("hit", "said", "age"),
    [
        (None, "miss", None),
        (replace(HIT, layer=CacheLayer.EXACT), "hit exact", "12"),
        (HIT, "hit semantic", "12"),
        (replace(HIT, stale=True), "stale", "12"),
    ],
)
@pytest.mark.parametrize("form", [SSE, {}])
async def test_headers_say_where_an_answer_is_from(
    http: httpx.AsyncClient,
    story: Story,
    hit: CacheHit | None,
    said: str,
    age: str | None,
    form: dict[str, str],
) -> None:
    account = replace(ACCOUNT, hops=(*ACCOUNT.hops, HopAccount("cache", 0.0, skipped="NO_TIME")))
    completed = replace(COMPLETED, cache_hit=hit, account=account)
    # One message, as a stored answer comes: the headers of its stream know all of it.
    story.events[:] = [PLAN, TextDelta("Yes."), completed]
    response = await http.post("/v1/answers", json=ASK, headers=form)
    assert response.headers["x-run-id"] == "run-1"
    assert (response.headers["x-cache"], response.headers.get("age")) == (said, age)
    assert response.headers["server-timing"] == (
        'total;dur=500, first-text;dur=250, generation;dur=480;desc="ok", '
        'cache;dur=0;desc="skipped: NO_TIME"'
    )


@pytest.mark.parametrize(
    ("header", "field", "control"),
    [
        ("no-cache", None, CacheControl.REFRESH),
        ("max-age=0", None, CacheControl.REFRESH),
        ("no-store", None, CacheControl.NO_STORE),
        ("no-cache, no-store", None, CacheControl.BYPASS),
        ("only-if-cached", None, CacheControl.ONLY_IF_CACHED),
        ("no-transform", None, CacheControl.DEFAULT),
        ("no-cache", "only-if-cached", CacheControl.ONLY_IF_CACHED),
        ("no-cache", "default", CacheControl.DEFAULT),
    ],
)
async def test_cache_control_is_a_header_unless_it_is_a_field(
    http: httpx.AsyncClient,
    story: Story,
    replicas: list[Replica],
    header: str,
    field: str | None,
    control: CacheControl,
) -> None:
    story.tell(COMPLETED)
    body = ASK | ({"cache_control": field} if field else {})
    response = await http.post("/v1/answers", json=body, headers={"Cache-Control": header})
    assert response.status_code == 200
    assert [each.cache_control for replica in replicas for each in replica.asked] == [control]


async def test_an_age_cannot_be_asked_for(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/answers", json=ASK, headers={"Cache-Control": "max-age=60"})
    assert (response.status_code, response.json()["reason"]) == (400, "MAX_AGE_NOT_SUPPORTED")


@pytest.mark.parametrize("form", [SSE, {}])
async def test_a_wait_that_is_preferred_is_the_deadline(
    http: httpx.AsyncClient, story: Story, form: dict[str, str]
) -> None:
    story.tell(COMPLETED)
    asked = form | {"Prefer": "respond-async, wait=20"}
    response = await http.post("/v1/answers", json=ASK, headers=asked)
    assert response.headers["preference-applied"] == "wait=20"
    response = await http.post("/v1/answers", json=ASK | {"deadline_ms": 9000}, headers=asked)
    assert "preference-applied" not in response.headers
    response = await http.post("/v1/answers", json=ASK, headers=form | {"Prefer": "wait=soon"})
    assert "preference-applied" not in response.headers


async def test_what_is_withdrawn_is_withdrawn_for_followers_too(
    http: httpx.AsyncClient, story: Story
) -> None:
    story.tell(Revised("STALE"), TextDelta("No."), COMPLETED)
    assert text_of(await read(http, f"{EVENTS}?after=3")) == "No."
