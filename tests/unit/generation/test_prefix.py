import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anthropic
import pytest
from prometheus_client import REGISTRY

from libs.errors import MeshError
from libs.telemetry import metrics, names
from libs.values import ModelTier, Passage, Role, TextDelta, Turn, Usage
from libs.values.generation import Model, Prompt, PromptCache
from services.generation.anthropic import AnthropicEngine, ModelSettings, open_client
from services.generation.engine import Finished
from services.generation.extractive import ExtractiveEngine
from services.generation.marks import Marks, PrefixSettings
from services.generation.prefix import Prefixes
from tests.support.provider import Behaviour, Provider

MODEL = Model(ModelTier.BEST, "claude-sonnet-5-5", "anthropic")
SETTINGS = PrefixSettings(minimum_tokens=10, gate_limit_s=10.0)


class Clock:
    """Seconds that go forward when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def document(name: str, text: str, version: int = 1) -> Passage:
    return Passage(name, name, version, name.title(), "", text, 0, len(text))


DOCUMENTS = tuple(document(f"doc{n}", f"The {n}th fact is that. " * 20) for n in range(3))
FOUND = replace(DOCUMENTS[1], passage_id="doc1/0", text=DOCUMENTS[1].text[:24], end_offset=24)
WHOLE = Prompt(
    "acme",
    "Why?",
    system="Be brief.",
    passages=(FOUND,),
    documents=DOCUMENTS,
    first_text_limit_s=30.0,
)
PLAIN = Prompt("acme", "Why?", system="Be brief.", passages=(FOUND,))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def prefixes(clock: Clock) -> Prefixes:
    return Prefixes("a-model", SETTINGS, clock)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider(Behaviour(words=3, cites=0)).serve() as running:
        yield running


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[anthropic.AsyncAnthropic]:
    opened = await asyncio.to_thread(
        open_client, "a-key", base_url=provider.url, connect_limit_s=2.0, max_connections=20
    )
    async with opened:
        yield opened


def engine(client: anthropic.AsyncAnthropic, **changes: Any) -> AnthropicEngine:
    return AnthropicEngine(client, MODEL, ModelSettings(prefix=replace(SETTINGS, **changes)))


async def written(engine: AnthropicEngine, prompt: Prompt = WHOLE) -> Usage:
    usage = Usage()
    async for piece in engine.generate(prompt):
        if isinstance(piece, Finished):
            usage = piece.usage
    return usage


async def together(engine: AnthropicEngine, count: int = 5) -> list[Usage]:
    prompts = [replace(WHOLE, question=f"Why {number}?") for number in range(count)]
    return list(await asyncio.gather(*(written(engine, each) for each in prompts)))


def counted(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(metric, {"model": MODEL.name, **labels}) or 0.0


# Where a start is marked


def test_nothing_is_marked_where_it_is_off(clock: Clock) -> None:
    off = Prefixes("a-model", replace(SETTINGS, enabled=False), clock)
    assert not off.marks(WHOLE).any


def test_a_prompt_may_say_what_is_cached(prefixes: Prefixes) -> None:
    assert prefixes.marks(replace(WHOLE, prompt_cache=PromptCache.OFF)) == Marks.none()
    system = prefixes.marks(replace(WHOLE, prompt_cache=PromptCache.SYSTEM))
    assert (system.system, system.sources) == (True, False)


def test_documents_are_marked_at_once_and_passages_once_they_come_again(
    prefixes: Prefixes, clock: Clock
) -> None:
    assert prefixes.marks(WHOLE).sources
    assert [prefixes.marks(PLAIN).sources for _ in range(3)] == [False, True, True]
    clock.now_s += 300
    assert not prefixes.marks(PLAIN).sources


def test_a_conversation_is_marked_over_documents(prefixes: Prefixes) -> None:
    told = replace(WHOLE, history=(Turn(Role.USER, "Hello."), Turn(Role.ASSISTANT, "Hello.")))
    assert prefixes.marks(told).history
    assert not prefixes.marks(WHOLE).history


def test_an_hour_is_asked_for_where_it_is_set(clock: Clock) -> None:
    marks = Prefixes("a-model", replace(SETTINGS, ttl="1h"), clock).marks(WHOLE)
    assert marks.at(place=True) == {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


# One pays


async def test_of_cold_requests_at_once_one_pays(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    provider.behave(read_per_1k=0.1)
    usages = await together(engine(client))
    assert sum(usage.cache_write_tokens > 0 for usage in usages) == 1
    assert sum(usage.cache_read_tokens > 0 for usage in usages) == len(usages) - 1


async def test_without_the_wait_several_pay(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    provider.behave(read_per_1k=1.0)
    usages = await together(engine(client, gate_limit_s=0.0))
    assert sum(usage.cache_write_tokens > 0 for usage in usages) > 1


async def test_who_has_no_time_to_wait_pays(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    provider.behave(read_per_1k=0.5)
    made = engine(client)
    first = asyncio.create_task(written(made))
    await provider.until_asked(1)
    hurried = await written(made, replace(WHOLE, first_text_limit_s=0.9))
    assert hurried.cache_write_tokens > 0
    assert (await first).cache_write_tokens > 0


async def test_one_that_fails_lets_the_next_go_ahead(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    provider.behave(read_per_1k=0.1, headers="0.05")
    provider.next_behave(status=500)
    made = engine(client)
    tasks = [asyncio.create_task(written(made)) for _ in range(4)]
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    usages = [end for end in ends if isinstance(end, Usage)]
    assert sum(isinstance(end, MeshError) for end in ends) == 1
    assert sum(usage.cache_write_tokens > 0 for usage in usages) == 1


async def test_one_that_is_cancelled_lets_the_next_go_ahead(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    provider.next_behave(headers="30")
    made = engine(client)
    first = asyncio.create_task(written(made))
    await provider.until_asked(1)
    second = asyncio.create_task(written(made))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).cache_write_tokens > 0


async def test_a_start_that_is_too_short_is_waited_for_once(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    provider.behave(minimum_prefix="1000000")
    made = engine(client)
    await written(made)
    provider.next_behave(headers="30")
    held = asyncio.create_task(written(made))
    await provider.until_asked(2)
    usage = await written(made)
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (0, 0)
    held.cancel()


# Warming


async def test_what_was_warmed_is_read_by_the_first_question(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    made = engine(client)
    warmed = await made.warm(replace(WHOLE, question="", passages=()))
    asked = await written(made)
    assert warmed.cache_write_tokens == asked.cache_read_tokens > 0
    assert provider.calls[0].request["max_tokens"] == 0


async def test_there_is_nothing_to_warm_without_a_start(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    assert await engine(client).warm(Prompt("acme", "")) == Usage()
    assert await engine(client, enabled=False).warm(WHOLE) == Usage()
    assert await ExtractiveEngine().warm(WHOLE) == Usage()
    assert provider.calls == []


# What is counted


async def test_tokens_costs_and_misses_are_counted(
    provider: Provider, client: anthropic.AsyncAnthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_ON", True)

    def state() -> list[float]:
        kinds = ("uncached", "read", "written")
        tokens = [counted(names.METRIC_PROMPT_TOKENS, kind=kind) for kind in kinds]
        costs = [counted(names.METRIC_PROMPT_COST, kind=kind) for kind in ("paid", "without_cache")]
        return [*tokens, *costs, counted(names.METRIC_PROMPT_MISSES, reason="cold")]

    before = await asyncio.to_thread(state)
    made = engine(client, dollars_per_million=3.0)
    for _ in range(2):
        await written(made)
    seen = [call.usage for call in provider.calls if call.usage is not None]
    later = await asyncio.to_thread(state)
    added = [after - was for after, was in zip(later, before, strict=True)]
    assert added[:3] == [
        sum(each.uncached for each in seen),
        sum(each.read for each in seen),
        sum(each.written for each in seen),
    ]
    assert added[3] == pytest.approx(sum(each.paid for each in seen) * 3e-6)
    assert added[4] == pytest.approx(sum(each.tokens for each in seen) * 3e-6)
    assert added[5] == 1


async def test_the_provider_says_why_nothing_was_read(
    provider: Provider, client: anthropic.AsyncAnthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_ON", True)
    made = engine(client, diagnoses=True)

    def misses() -> float:
        return counted(names.METRIC_PROMPT_MISSES, reason="messages_changed")

    before = await asyncio.to_thread(misses)
    await written(made)
    provider.prefixes.clear()
    await written(made, replace(WHOLE, question="Where?"))
    assert provider.calls[1].request["diagnostics"] == {
        "previous_message_id": provider.calls[0].message_id
    }
    assert await asyncio.to_thread(misses) - before == 1


@pytest.mark.parametrize(
    ("first", "later_s", "usage", "reason"),
    [
        (Usage(), 0.0, Usage(), "below_minimum"),
        (Usage(cache_write_tokens=9), 10.0, Usage(cache_write_tokens=9), "unexplained"),
        (Usage(cache_write_tokens=9), 400.0, Usage(cache_write_tokens=9), "expired"),
    ],
)
async def test_a_miss_is_explained_as_far_as_it_is_known(
    prefixes: Prefixes,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    first: Usage,
    later_s: float,
    usage: Usage,
    reason: str,
) -> None:
    reasons: list[str] = []
    monkeypatch.setattr(metrics, "count_prompt_miss", lambda _, why: reasons.append(why))
    for each in (first, usage):
        async with prefixes.entered(WHOLE, Marks()) as entered:
            entered.began(each)
        clock.now_s += later_s
    assert reasons[-1] == reason


async def test_text_is_written_all_the_same(client: anthropic.AsyncAnthropic) -> None:
    pieces = [piece async for piece in engine(client).generate(WHOLE)]
    assert any(isinstance(piece, TextDelta) for piece in pieces)
