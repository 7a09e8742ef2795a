"""What is served is what was stored, at once or in parts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hasten.cache.v1 import cache_service_pb2 as pb
from hasten.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from libs.clients import Connection
from libs.clients.cache import CacheClient
from libs.server.testing import serving
from libs.values import TextDelta
from libs.values.cache import Lookup
from services.cache.__main__ import build
from services.cache.config import CacheConfig
from tests.contract.cache.parts import PROMPT
from tests.unit.cache.parts import (
    answer,
    decided,
    exact,
    numbered,
    prompted,
    replayed,
    said,
    semantic,
)


async def test_events_are_replayed_as_they_were_and_numbered_from_one(cache: CacheClient) -> None:
    events = said("Shakespeare.")
    shifted = tuple(replace(each, sequence=each.sequence + 7) for each in events)
    await cache.store(answer(events=shifted))
    assert await replayed(cache, exact()) == events


async def test_a_small_answer_comes_with_the_decision_and_a_large_one_in_parts(
    cache: CacheClient,
) -> None:
    source = said("")[0].event
    text = [TextDelta(f"{number} " + "ä" * 300) for number in range(400)]
    events = numbered(source, *text)
    await cache.store(answer(events=events))
    async with cache.lookup(exact()) as found:
        pages = [page async for page in found.events]
    assert len(pages) > 1
    assert tuple(event for page in pages for event in page) == events


async def test_an_event_larger_than_a_message_is_replayed_too(cache: CacheClient) -> None:
    events = numbered(TextDelta("a"), TextDelta("b" * 200_000), TextDelta("c"))
    await cache.store(answer(events=events))
    assert await replayed(cache, exact()) == events


@pytest.mark.parametrize("lookup", [exact(), prompted(PROMPT), semantic()])
async def test_an_outcome_is_the_same_at_once_as_in_parts(
    cache: CacheClient, lookup: Lookup
) -> None:
    sizes = {"none": (), "small": (3,), "full": (20_000, 20_000, 20_000), "large": (200_000,)}
    for name, lengths in sizes.items():
        if lengths:
            events = numbered(*(TextDelta("x" * length) for length in lengths))
            await cache.store(answer(entry_id=name, events=events, prompt_sha256=PROMPT))
        found = await cache.find(lookup, limit_s=10.0)
        assert found.decision.entry_id == ("" if name == "none" else name)
        assert found.events == await replayed(cache, lookup)
        streamed = await decided(cache, lookup)
        same = {"age_s": 0.0, "timing": streamed.timing}
        assert replace(found.decision, **same) == replace(streamed, **same)
        assert found.decision.timing.compute_s > 0


async def test_of_a_large_answer_the_decision_alone_comes_at_once(
    redis_url: str, retrieval: str
) -> None:
    config = CacheConfig(redis_url=redis_url, retrieval_target=retrieval)
    async with (
        build(config) as served,
        serving(served.register) as address,
        Connection.open(address) as connection,
    ):
        events = numbered(TextDelta("x" * 20_000), TextDelta("y" * 20_000))
        await CacheClient(connection).store(answer(events=events))
        request = pb.FindAnswerRequest(tenant_id="acme", layer=1)  # type: ignore[arg-type]
        request.asked.question = "Who wrote Hamlet?"
        found = await CacheServiceStub(connection.channel).FindAnswer(request)
    assert (found.decision.hit, found.final, list(found.events)) == (True, False, [])


async def test_a_reader_that_leaves_does_not_disturb_the_next(cache: CacheClient) -> None:
    events = numbered(*(TextDelta("x" * 20_000) for _ in range(40)))
    await cache.store(answer(events=events))
    for _ in range(5):
        async with cache.lookup(exact()) as found:
            await anext(found.events)
    assert await replayed(cache, exact()) == events
