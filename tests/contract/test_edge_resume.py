"""Who is cut off again and again has exactly the text of the run in the end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import pairwise

import httpx
import pytest

from libs.clients import Connection
from libs.server.testing import serving
from libs.values import TextDelta
from services.edge.web.sse import Flow
from tests.support.edges import COMPLETED, PACE, PLAN, Frames, Replica, Story, open_edge
from tests.support.faults.proxy import Proxy
from tests.support.resuming import ResumingReader

IDLE_S = 0.8
WORDS = [f"word-{number} " for number in range(40)]
ASK = {"question": "Why is the sky blue?", "resumable": True}


@pytest.mark.parametrize("resumes", [True, False])
async def test_a_reader_that_is_cut_off_has_the_whole_text_once(resumes: bool) -> None:  # noqa: FBT001
    story = Story([PLAN])
    replicas = [Replica(story), Replica(story)]
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        addresses = [await enter(serving(each.register)) for each in replicas]
        proxies, clients = [], []
        for _ in range(2):
            connection = await enter(Connection.open("ipv4:" + ",".join(addresses)))
            edge = await enter(open_edge(connection, flow=Flow(0.001, 0.001)))
            proxies.append(await enter(Proxy(f"127.0.0.1:{edge.port}").serve()))
            url = f"http://{proxies[-1].address}"
            clients.append(await enter(httpx.AsyncClient(base_url=url, trust_env=False)))

        async def disturb(_: Frames) -> None:
            """Tell a little more; cut the line, break the orchestrator that was asked."""
            if len(story.events) <= len(WORDS):
                story.tell(*map(TextDelta, WORDS[len(story.events) - 1 :][:2]))
            elif story.events[-1] is not COMPLETED:
                story.tell(COMPLETED)
            if len(story.events) % 6 == 1:
                for proxy in proxies:
                    proxy.reset()
            if len(story.events) == 21:
                next(each for each in replicas if each.asked).break_off()

        reader = ResumingReader(clients, ASK, resumes, disturb)
        await asyncio.wait_for(reader.read(), 30)
    assert reader.cuts >= 3
    numbers = reader.numbers_since_revised
    if resumes:
        assert reader.text == "".join(WORDS)
        assert all(one < later for one, later in pairwise(numbers))
    else:
        assert reader.text != "".join(WORDS)


@pytest.mark.parametrize("ping_every_s", [0.05, 60.0])
async def test_a_proxy_that_cuts_silence_cuts_no_stream_that_shows_life(
    ping_every_s: float,
) -> None:
    story = Story([PLAN, TextDelta("Well, ")])
    replica = Replica(story)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        connection = await enter(Connection.open(await enter(serving(replica.register))))
        pace = replace(PACE, ping_every_s=ping_every_s)
        edge = await enter(open_edge(connection, pace=pace, flow=Flow(0.001, 0.001)))
        proxy = await enter(Proxy(f"127.0.0.1:{edge.port}").serve())
        proxy.behave(idle_s=IDLE_S)
        url = f"http://{proxy.address}"
        http = await enter(httpx.AsyncClient(base_url=url, trust_env=False, timeout=30))
        reader = ResumingReader([http], ASK)
        reading = asyncio.create_task(reader.read())
        await asyncio.sleep(2 * IDLE_S)
        story.tell(TextDelta("yes."), COMPLETED)
        await asyncio.wait_for(reading, 30)
    # Whoever was cut has it all none the less.
    assert (reader.cuts > 0) == (ping_every_s > IDLE_S)
    assert reader.text == "Well, yes."
