import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from tests.support.provider import Behaviour, Provider
from tests.support.provider.prefixes import (
    LOOK_BACK,
    PrefixCache,
    Reading,
    Usage,
    miss_reason,
    prompt_blocks,
)

MODEL = "claude-sonnet-5-5"
BRIEF = "Be brief. " * 40


class Clock:
    """Seconds that go forward when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> PrefixCache:
    return PrefixCache(clock, lambda _: 50)


def text(words: str, ttl: str = "") -> dict[str, Any]:
    mark = {"cache_control": {"type": "ephemeral", "ttl": ttl}} if ttl else {}
    return {"type": "text", "text": words, **mark}


def request(*blocks: dict[str, Any], model: str = MODEL, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": list(blocks)}], **more}


def asked(question: str, ttl: str = "5m", **more: Any) -> dict[str, Any]:
    return request(text(BRIEF, ttl), text(question), **more)


def served(cache: PrefixCache, prompt: dict[str, Any]) -> Usage:
    reading = cache.read(prompt)
    cache.began(reading)
    return reading.usage


def test_a_prompt_is_read_as_tools_then_system_then_messages() -> None:
    prompt = request(text("question"), tools=[{"name": "tool"}], system=[text("system")])
    kinds = [block.content for block in prompt_blocks(prompt)]
    found = [b"tool", b"system", b"question"]
    assert all(word in content for word, content in zip(found, kinds, strict=True))


def test_a_text_is_the_same_as_one_block_or_as_a_string() -> None:
    plain = {"model": MODEL, "system": "Be brief.", "messages": [{"role": "user", "content": "?"}]}
    assert prompt_blocks(plain) == prompt_blocks(request(text("?"), system=[text("Be brief.")]))


def test_the_start_is_written_once_and_then_read(cache: PrefixCache) -> None:
    first, second = served(cache, asked("Why?")), served(cache, asked("And where?"))
    assert (first.read, second.written) == (0, 0)
    assert first.written_5m == second.read > 0
    assert first.uncached > 0
    assert first.tokens == first.uncached + first.written


def test_nothing_is_cached_without_a_breakpoint(cache: PrefixCache) -> None:
    served(cache, asked("Why?", ttl=""))
    again = served(cache, asked("Why?", ttl=""))
    assert again.uncached == again.tokens


def test_a_start_below_the_minimum_is_not_cached(clock: Clock) -> None:
    cache = PrefixCache(clock, lambda model: 1024 if model == MODEL else 50)
    for _ in range(2):
        assert served(cache, asked("Why?")).uncached == served(cache, asked("Why?")).tokens
    served(cache, asked("Why?", model="another"))
    assert served(cache, asked("Why?", model="another")).read > 0


def test_another_model_reads_nothing(cache: PrefixCache) -> None:
    served(cache, asked("Why?"))
    assert served(cache, asked("Why?", model="another")).read == 0


def test_one_byte_before_the_breakpoint_is_a_miss(cache: PrefixCache) -> None:
    served(cache, asked("Why?", system=[text("It is Monday.")]))
    assert served(cache, asked("Why?", system=[text("It is monday.")])).read == 0


def test_another_way_to_think_keeps_the_system_text_and_loses_the_messages(
    cache: PrefixCache,
) -> None:
    system = [text(BRIEF, "5m")]
    first = served(cache, asked("Why?", system=system))
    second = served(cache, asked("Why?", system=system, thinking={"type": "adaptive"}))
    assert 0 < second.read < first.written


@pytest.mark.parametrize(("ttl", "ttl_s"), [("5m", 300.0), ("1h", 3600.0)])
def test_an_entry_lives_from_when_it_was_last_read(
    cache: PrefixCache, clock: Clock, ttl: str, ttl_s: float
) -> None:
    served(cache, asked("Why?", ttl))
    for _ in range(3):
        clock.now_s += ttl_s - 1
        assert served(cache, asked("Why?", ttl)).read > 0
    clock.now_s += ttl_s
    assert served(cache, asked("Why?", ttl)).read == 0


@pytest.mark.parametrize(("between", "is_read"), [(LOOK_BACK - 1, True), (LOOK_BACK, False)])
def test_twenty_blocks_are_looked_back(cache: PrefixCache, between: int, is_read: bool) -> None:  # noqa: FBT001
    served(cache, asked("Why?"))
    more = [text(f"block {number}") for number in range(between - 1)]
    later = served(cache, request(text(BRIEF), *more, text("last", "5m")))
    assert (later.read > 0) == is_read


def test_the_longest_entry_is_read_and_the_rest_is_written(cache: PrefixCache) -> None:
    short = served(cache, request(text(BRIEF, "5m"), text("Why?")))
    both = served(cache, request(text(BRIEF, "5m"), text("More. " * 50, "5m"), text("Why?")))
    again = served(cache, request(text(BRIEF, "5m"), text("More. " * 50, "5m"), text("Why?")))
    assert both.read == short.written
    assert both.written > 0
    assert again.read == both.read + both.written


def test_each_part_is_written_at_the_price_of_its_breakpoint(cache: PrefixCache) -> None:
    usage = served(cache, request(text(BRIEF, "1h"), text("More. " * 50, "5m"), text("Why?")))
    assert usage.written_1h > 0
    assert usage.written_5m > 0
    assert usage.members()["cache_creation"] == {
        "ephemeral_5m_input_tokens": usage.written_5m,
        "ephemeral_1h_input_tokens": usage.written_1h,
    }


def test_writing_and_reading_have_their_prices() -> None:
    assert Usage(uncached=100, read=100, written_5m=100, written_1h=100).paid == pytest.approx(435)


def test_an_entry_is_readable_once_the_response_has_begun(cache: PrefixCache) -> None:
    first, second = cache.read(asked("Why?")), cache.read(asked("Why?"))
    assert isinstance(second, Reading)
    assert first.usage.written == second.usage.written > 0
    cache.began(first)
    assert cache.read(asked("Why?")).usage.read == first.usage.written


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        (asked("Why?"), asked("Why?", model="another"), "model_changed"),
        (asked("Why?"), asked("Why?", tools=[{"name": "tool"}]), "tools_changed"),
        (asked("Why?"), asked("Why?", system="Monday."), "system_changed"),
        (asked("Why?"), asked("Where?"), "messages_changed"),
        (asked("Why?"), asked("Why?", ttl=""), ""),
    ],
)
def test_a_miss_is_diagnosed(before: dict[str, Any], now: dict[str, Any], reason: str) -> None:
    assert miss_reason(before, now) == reason


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider(Behaviour(words=3, cites=0)).serve() as running:
        yield running


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[anthropic.AsyncAnthropic]:
    def opened() -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(api_key="a-key", base_url=provider.url, max_retries=0)

    async with await asyncio.to_thread(opened) as made:
        yield made


async def test_a_request_for_no_tokens_warms(client: anthropic.AsyncAnthropic) -> None:
    prompt: Any = asked("Why?")
    warmed = await client.messages.create(**prompt, max_tokens=0)
    asked_ = await client.messages.create(**prompt, max_tokens=5)
    assert warmed.content == []
    assert warmed.usage.output_tokens == 0
    assert warmed.usage.cache_creation_input_tokens == asked_.usage.cache_read_input_tokens
    assert asked_.usage.cache_read_input_tokens


async def test_cold_requests_at_once_all_pay(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    provider.behave(read_per_1k=2.0)
    prompt: Any = asked("Why?")
    answers = [client.messages.create(**prompt, max_tokens=5) for _ in range(3)]
    for answer in await asyncio.gather(*answers):
        assert answer.usage.cache_creation_input_tokens


async def test_the_first_word_of_what_is_cached_comes_sooner(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    provider.behave(read_per_1k=2.0)
    prompt: Any = asked("Why?")
    waits_s = []
    for _ in range(2):
        await client.messages.create(**prompt, max_tokens=5)
        call = provider.calls[-1]
        assert call.ended_s is not None
        waits_s.append(call.ended_s - call.arrived_s)
    assert waits_s[0] >= 0.1 + waits_s[1]


async def test_the_sdk_reads_the_diagnosis(client: anthropic.AsyncAnthropic) -> None:
    prompt: Any = {**asked("Why?"), "max_tokens": 5}
    first = await client.messages.create(**prompt, diagnostics={"previous_message_id": None})
    then: Any = {**asked("Why?", system="Today is Monday."), "max_tokens": 5}
    second = await client.messages.create(**then, diagnostics={"previous_message_id": first.id})
    assert first.diagnostics is None
    assert second.diagnostics is not None
    assert second.diagnostics.cache_miss_reason is not None
    assert second.diagnostics.cache_miss_reason.type == "system_changed"
