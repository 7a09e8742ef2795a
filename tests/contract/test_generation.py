import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hasten.generation.v1 import generation_service_pb2 as pb
from hasten.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from libs.clients import Connection
from libs.clients.generation import GenerationClient
from libs.errors import (
    BudgetExhaustedError,
    InvalidFieldError,
    MeshError,
    ModelInterruptedError,
    ModelOverloadedError,
    ModelUnavailableError,
    TenantNotAllowedError,
)
from libs.server import Identities, Identity
from libs.server.testing import serving
from libs.values import Citation, FinishReason, ModelTier, Passage, Role, TextDelta, Turn
from libs.values.generation import GenerationCompleted, GenerationEvent, Model, Prompt, Started
from services.generation.anthropic import AnthropicEngine, ModelSettings, open_client
from services.generation.extractive import ExtractiveEngine
from services.generation.roster import Roster
from services.generation.servicer import GenerationServicer
from services.generation.writer import Limits, Writer
from tests.support.provider import Behaviour, Provider

BEST = Model(ModelTier.BEST, "claude-sonnet-5-5", "anthropic")
FAST = Model(ModelTier.FAST, "claude-haiku-5-5", "anthropic")
EXTRACTIVE = Model(ModelTier.EXTRACTIVE, "extractive", "extractive")
BEFORE = "What stands before. "


def passage(name: str, text: str) -> Passage:
    start = len(BEFORE)
    return Passage(name, f"doc-{name}", 1, name.title(), "", text, start, start + len(text))


RHINE = passage("rhine", "The Rhine is a river in Europe. It is 1,230 km long.")
ALPS = passage("alps", "The Alps are mountains. Their highest summit is Mont Blanc.")
PROMPT = Prompt("acme", "How long is the Rhine?", passages=(RHINE, ALPS), system="Be brief.")


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider().serve() as running:
        yield running


Serve = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def serve(provider: Provider) -> Serve:
    @asynccontextmanager
    async def generation(
        limits: Limits | None = None, url: str = "", identities: Identities | None = None
    ) -> AsyncIterator[str]:
        client = await asyncio.to_thread(
            open_client,
            "a-key",
            base_url=url or provider.url,
            connect_limit_s=2.0,
            max_connections=10,
        )
        async with client:
            engines = [
                AnthropicEngine(client, FAST, ModelSettings(thinking="disabled")),
                AnthropicEngine(client, BEST, ModelSettings(thinking="between_tools")),
                ExtractiveEngine(),
            ]
            servicer = GenerationServicer(Roster(engines), Writer(limits or Limits()))
            async with serving(servicer.register, identities=identities) as address:
                yield address

    return generation


@pytest.fixture
async def generation(serve: Serve) -> AsyncIterator[GenerationClient]:
    async with serve() as address, Connection.open(address) as connection:
        yield GenerationClient(connection)


async def write(
    generation: GenerationClient, prompt: Prompt = PROMPT, limit_s: float | None = 20.0
) -> list[GenerationEvent]:
    async with generation.generate(prompt, limit_s=limit_s) as events:
        return [event async for event in events]


async def failing(
    generation: GenerationClient, prompt: Prompt = PROMPT, limit_s: float | None = 20.0
) -> tuple[MeshError, str]:
    """The error that ends an answer, and the text before it."""
    text = ""
    try:
        async with generation.generate(prompt, limit_s=limit_s) as events:
            async for event in events:
                text += event.text if isinstance(event, TextDelta) else ""
    except MeshError as error:
        return error, text
    pytest.fail(f"the answer ended well: {text}")


def text_of(events: list[GenerationEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def end_of(events: list[GenerationEvent]) -> GenerationCompleted:
    assert isinstance(events[-1], GenerationCompleted)
    return events[-1]


# What is written


async def test_an_answer_starts_with_its_model_and_ends_with_its_account(
    provider: Provider, generation: GenerationClient
) -> None:
    provider.behave(first_text="0.05")
    events = await write(generation)
    end = end_of(events)
    assert events[0] == Started(BEST.name, "anthropic")
    assert text_of(events).startswith("Answer 1 says in words of its own")
    assert end.finish_reason is FinishReason.END_TURN
    usage, seen = end.usage, provider.calls[0].usage
    assert seen is not None
    assert (usage.input_tokens, usage.cache_write_tokens) == (seen.uncached, seen.written)
    assert end.usage.output_tokens == provider.calls[0].pieces
    assert end.first_text_s is not None
    assert end.timing.model_s >= 0.05
    assert 0.05 <= end.first_text_s <= end.timing.model_s + end.timing.compute_s


async def test_the_provider_s_citations_are_word_for_word_where_they_say(
    generation: GenerationClient,
) -> None:
    events = await write(generation)
    citations = [event for event in events if isinstance(event, Citation)]
    for citation in citations:
        source = PROMPT.passages[citation.source_index]
        document = BEFORE + source.text
        assert citation.document_id == source.document_id
        assert document[citation.start_offset : citation.end_offset] == citation.cited_text
        assert text_of(events)[: citation.answer_offset].endswith(citation.cited_text)
    assert [citation.cited_text for citation in citations] == [
        "Their highest summit is Mont Blanc.",
        "It is 1,230 km long.",
    ]


async def test_citations_come_after_the_text_they_support(generation: GenerationClient) -> None:
    written = 0
    for event in await write(generation):
        if isinstance(event, TextDelta):
            written += len(event.text)
        elif isinstance(event, Citation):
            assert event.answer_offset <= written


async def test_thinking_and_kinds_of_a_later_version_are_no_part_of_the_answer(
    provider: Provider, generation: GenerationClient
) -> None:
    plain = await write(generation)
    provider.behave(extras=True)
    with_extras = await write(generation)
    assert text_of(with_extras) == text_of(plain).replace("Answer 1", "Answer 2")
    assert end_of(with_extras).finish_reason is FinishReason.END_TURN


async def test_a_tier_is_asked_by_its_own_model(
    provider: Provider, generation: GenerationClient
) -> None:
    events = await write(generation, replace(PROMPT, tier=ModelTier.FAST))
    request = provider.calls[0].request
    assert events[0] == Started(FAST.name, "anthropic")
    assert (request["model"], request["thinking"]) == (FAST.name, {"type": "disabled"})


async def test_models_are_listed_best_first_and_the_one_without_a_model_last(
    generation: GenerationClient,
) -> None:
    assert await generation.models() == (BEST, FAST, EXTRACTIVE)


async def test_the_extractive_tier_quotes_and_asks_no_provider(
    provider: Provider, generation: GenerationClient
) -> None:
    events = await write(generation, replace(PROMPT, tier=ModelTier.EXTRACTIVE))
    assert events[0] == Started("extractive", "extractive")
    assert "It is 1,230 km long." in text_of(events)
    assert end_of(events).timing.model_s == 0
    assert provider.calls == []


async def test_unrelated_passages_are_no_answer_and_no_text(generation: GenerationClient) -> None:
    prompt = replace(PROMPT, question="Which debit card?", tier=ModelTier.EXTRACTIVE)
    events = await write(generation, prompt)
    end = end_of(events)
    assert (text_of(events), end.finish_reason) == ("", FinishReason.NO_ANSWER)
    assert end.first_text_s is None


async def test_a_tier_that_is_not_configured_is_not_replaced() -> None:
    servicer = GenerationServicer(Roster([ExtractiveEngine()]), Writer(Limits()))
    async with serving(servicer.register) as address, Connection.open(address) as connection:
        client = GenerationClient(connection)
        error, _ = await failing(client, replace(PROMPT, tier=ModelTier.BEST))
        assert isinstance(error, ModelUnavailableError)
        assert (await write(client))[0] == Started("extractive", "extractive")


async def test_a_schema_gives_json_that_satisfies_it(generation: GenerationClient) -> None:
    schema = {
        "type": "object",
        "properties": {"river": {"type": "string"}, "long": {"enum": ["yes", "no"]}},
    }
    events = await write(generation, replace(PROMPT, output_schema=json.dumps(schema)))
    assert json.loads(text_of(events)) == {"river": "text", "long": "yes"}
    assert not [event for event in events if isinstance(event, Citation)]


async def test_a_conversation_is_sent_in_full(
    provider: Provider, generation: GenerationClient
) -> None:
    history = (Turn(Role.USER, "Hello."), Turn(Role.ASSISTANT, "Hello yourself."))
    await write(generation, replace(PROMPT, history=history, max_output_tokens=77))
    request = provider.calls[0].request
    assert [each["role"] for each in request["messages"]] == ["user", "user", "assistant", "user"]
    assert request["max_tokens"] == 77


async def test_answers_written_at_once_are_never_mixed(
    provider: Provider, generation: GenerationClient
) -> None:
    provider.behave(gap="lognormal:0.002:1", words=30)
    answers = await asyncio.gather(*(write(generation) for _ in range(12)))
    opened = {int(text_of(events).split()[1]) for events in answers}
    assert opened == set(range(1, 13))
    plain = {re.sub(r"Answer \d+", "Answer", text_of(events)) for events in answers}
    assert len(plain) == 1


@pytest.mark.parametrize(
    ("stop_reason", "expected"),
    [
        ("end_turn", FinishReason.END_TURN),
        ("stop_sequence", FinishReason.STOP_SEQUENCE),
        ("refusal", FinishReason.REFUSAL),
        ("model_context_window_exceeded", FinishReason.MAX_TOKENS),
        ("pause_turn", FinishReason.INTERRUPTED),
    ],
)
async def test_how_the_model_stopped_is_passed_on(
    provider: Provider, generation: GenerationClient, stop_reason: str, expected: FinishReason
) -> None:
    provider.behave(stop_reason=stop_reason)
    assert end_of(await write(generation)).finish_reason is expected


async def test_the_token_limit_ends_an_answer_as_such(generation: GenerationClient) -> None:
    events = await write(generation, replace(PROMPT, max_output_tokens=4))
    assert text_of(events) == "Answer 1 says in"
    assert end_of(events).finish_reason is FinishReason.MAX_TOKENS


# When it is sent


async def test_the_first_text_is_sent_at_once(
    provider: Provider, generation: GenerationClient
) -> None:
    provider.behave(gap="30")
    async with generation.generate(PROMPT, limit_s=60.0) as events:
        started, first = await anext(events), await anext(events)
    assert (started, first) == (Started(BEST.name, "anthropic"), TextDelta("Answer"))


async def test_nothing_is_sent_before_there_is_text(
    provider: Provider, generation: GenerationClient
) -> None:
    # Whoever has seen nothing may still ask elsewhere.
    provider.behave(first_text="30")
    async with generation.generate(PROMPT, limit_s=60.0) as events:
        waiting = asyncio.ensure_future(anext(events))
        await provider.until_asked()
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        waiting.cancel()
        await asyncio.wait({waiting})
    assert not done


async def messages_of(serve: Serve, limits: Limits) -> list[pb.GenerateTextResponse]:
    request = pb.GenerateTextRequest(tenant_id="acme", question="Why?")
    async with serve(limits) as address, Connection.open(address) as connection:
        call = GenerationServiceStub(connection.channel).GenerateText(request)
        return [message async for message in call]


async def test_pieces_that_come_close_together_share_a_message(
    provider: Provider, serve: Serve
) -> None:
    provider.behave(words=100, gap="0.002")
    messages = await messages_of(serve, Limits(coalesce_s=0.1))
    assert len(messages) < 20
    assert all(message.events for message in messages)


async def test_without_that_each_piece_is_a_message_of_its_own(
    provider: Provider, serve: Serve
) -> None:
    provider.behave(words=100, gap="0.002")
    messages = await messages_of(serve, Limits(coalesce_s=0.0))
    assert len(messages) > 50


# What goes wrong


@pytest.mark.parametrize(
    "behaviour",
    [
        {"api_key": "another-key"},
        {"status": 400},
        {"status": 403},
        {"status": 404},
        {"status": 500},
        {"status": 503},
        {"error_after": 0},
        {"drop_after": 0},
        {"end_after": 0},
    ],
    ids=str,
)
async def test_a_provider_that_does_not_serve_is_unavailable(
    provider: Provider, generation: GenerationClient, behaviour: dict[str, Any]
) -> None:
    provider.behave(**behaviour)
    error, text = await failing(generation)
    assert isinstance(error, ModelUnavailableError)
    assert text == ""
    assert len(provider.calls) == 1


async def test_a_provider_that_is_not_there_is_unavailable(
    serve: Serve, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with serve(url=url) as address, Connection.open(address) as connection:
        error, _ = await failing(GenerationClient(connection))
    assert isinstance(error, ModelUnavailableError)


async def test_what_the_provider_says_of_an_error_is_not_passed_on(
    provider: Provider, generation: GenerationClient
) -> None:
    provider.behave(api_key="another-key")
    error, _ = await failing(generation)
    assert str(error) == f"{BEST.name}: the provider answered 401 authentication_error"


@pytest.mark.parametrize(
    ("behaviour", "retry_after_s"),
    [
        ({"overload_status": 429, "retry_after": "7"}, 7.0),
        ({"overload_status": 529, "retry_after": "0.25"}, 0.25),
        ({"overload_status": 529}, 1.0),
        ({"overload_status": 429, "retry_after": "86400"}, 30.0),
        ({"overload_in_stream": True}, 1.0),
        ({"overload_rate": 0.0, "error_after": 0, "error_type": "overloaded_error"}, 1.0),
    ],
    ids=str,
)
async def test_an_overloaded_provider_says_when_to_come_back(
    provider: Provider,
    generation: GenerationClient,
    behaviour: dict[str, Any],
    retry_after_s: float,
) -> None:
    provider.behave(**{"overload_rate": 1.0, **behaviour})
    error, _ = await failing(generation)
    assert isinstance(error, ModelOverloadedError)
    assert error.retry_after_s == retry_after_s
    # Whether to ask again is for the caller to decide, who knows its time.
    assert len(provider.calls) == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        {"error_after": 5},
        {"error_after": 5, "error_type": "overloaded_error"},
        {"drop_after": 5},
        {"end_after": 5},
        {"stall_after": 5},
    ],
    ids=str,
)
async def test_an_answer_that_breaks_off_is_interrupted_after_all_of_its_text(
    provider: Provider, generation: GenerationClient, behaviour: dict[str, Any]
) -> None:
    provider.behave(**behaviour)
    error, text = await failing(generation, replace(PROMPT, stall_limit_s=0.3))
    assert isinstance(error, ModelInterruptedError)
    assert text == "Answer 1 says in words"


async def test_a_pause_within_the_stall_limit_interrupts_nothing(
    provider: Provider, generation: GenerationClient
) -> None:
    # The next test differs in its limit alone.
    provider.behave(gap="0,0,0.4", words=9, cites=0)
    events = await write(generation, replace(PROMPT, stall_limit_s=10.0))
    assert end_of(events).finish_reason is FinishReason.END_TURN


async def test_a_pause_beyond_the_stall_limit_interrupts(
    provider: Provider, generation: GenerationClient
) -> None:
    provider.behave(gap="0,0,0.4", words=9, cites=0)
    error, text = await failing(generation, replace(PROMPT, stall_limit_s=0.1))
    assert isinstance(error, ModelInterruptedError)
    assert text == "Answer 1 says"


async def test_the_server_has_a_stall_limit_of_its_own(provider: Provider, serve: Serve) -> None:
    provider.behave(stall_after=3)
    async with serve(Limits(stall_s=0.2)) as address, Connection.open(address) as connection:
        error, text = await failing(GenerationClient(connection))
    assert isinstance(error, ModelInterruptedError)
    assert text == "Answer 1 says"


async def test_silence_before_the_first_text_is_no_stall(
    provider: Provider, generation: GenerationClient
) -> None:
    provider.behave(first_text="0.5")
    events = await write(generation, replace(PROMPT, stall_limit_s=0.1))
    assert end_of(events).finish_reason is FinishReason.END_TURN


# The deadline


async def test_a_deadline_before_any_text_is_an_error(
    provider: Provider, generation: GenerationClient
) -> None:
    provider.behave(first_text="60")
    error, _ = await failing(generation, limit_s=0.4)
    assert isinstance(error, BudgetExhaustedError)
    await provider.until(1, "cancelled")


@pytest.mark.parametrize("gap", ["0.01", "0.15", "60"], ids="gap {}".format)
async def test_a_deadline_after_text_ends_the_answer_cleanly_and_in_time(
    provider: Provider, serve: Serve, gap: str
) -> None:
    provider.behave(gap=gap, words=1000)
    # A reserve for a slow machine; an end that came too late would be an error here.
    limits = Limits(reply_reserve_s=0.3)
    async with serve(limits) as address, Connection.open(address) as connection:
        events = await write(GenerationClient(connection), limit_s=0.9)
    end = end_of(events)
    assert end.finish_reason is FinishReason.BUDGET
    assert end.usage.input_tokens > 0
    assert text_of(events).startswith("Answer")
    await provider.until(1, "cancelled")


async def test_an_answer_that_is_not_ended_before_its_deadline_ends_in_an_error(
    provider: Provider, serve: Serve
) -> None:
    # What the reserve is for: with none of it the same answer fails.
    provider.behave(gap="60")
    limits = Limits(reply_reserve_s=-1.0)
    async with serve(limits) as address, Connection.open(address) as connection:
        error, text = await failing(GenerationClient(connection), limit_s=0.9)
    assert isinstance(error, BudgetExhaustedError)
    assert text == "Answer"


async def test_with_time_enough_the_same_answer_is_whole(
    provider: Provider, generation: GenerationClient
) -> None:
    provider.behave(gap="0.15", words=8, cites=0)
    assert end_of(await write(generation)).finish_reason is FinishReason.END_TURN


async def test_a_burst_does_not_run_past_the_deadline(provider: Provider, serve: Serve) -> None:
    # More than can be read in the time, and always something to read.
    provider.behave(words=20_000, cites=0)
    prompt = replace(PROMPT, max_output_tokens=64_000)
    limits = Limits(reply_reserve_s=0.3)
    async with serve(limits) as address, Connection.open(address) as connection:
        events = await write(GenerationClient(connection), prompt, limit_s=0.9)
    assert end_of(events).finish_reason is FinishReason.BUDGET


async def test_a_call_without_a_deadline_gets_the_server_s(
    provider: Provider, serve: Serve
) -> None:
    provider.behave(first_text="60")
    async with serve(Limits(total_s=0.3)) as address, Connection.open(address) as connection:
        error, _ = await failing(GenerationClient(connection), limit_s=None)
    assert isinstance(error, BudgetExhaustedError)


# Leaving


@pytest.mark.parametrize(
    "behaviour",
    [{"headers": "60"}, {"first_text": "60"}, {"gap": "60"}, {"gap": "0.005", "words": 10_000}],
    ids=str,
)
async def test_a_caller_that_leaves_ends_the_provider_s_work(
    provider: Provider, generation: GenerationClient, behaviour: dict[str, Any]
) -> None:
    provider.behave(**behaviour)
    prompt = replace(PROMPT, max_output_tokens=20_000)
    async with generation.generate(prompt, limit_s=60.0) as events:
        waiting = asyncio.ensure_future(anext(events))
        await provider.until_asked()
        waiting.cancel()
        await asyncio.wait({waiting})
        left_s = time.monotonic()
    call = await provider.until(1, "cancelled")
    assert call.ended_s is not None
    assert call.ended_s - left_s < 1.0
    assert provider.in_flight == 0


@pytest.mark.prove
async def test_a_caller_that_leaves_ends_the_provider_s_work_within_150_ms(
    provider: Provider, generation: GenerationClient
) -> None:
    provider.behave(gap="60")
    took_s = []
    for number in range(1, 51):
        async with generation.generate(PROMPT, limit_s=120.0) as events:
            await anext(events)
            left_s = time.monotonic()
        call = await provider.until(number, "cancelled")
        took_s.append((call.ended_s or left_s) - left_s)
    print(f"cancelled after {max(took_s) * 1e3:.1f} ms at most")
    assert max(took_s) <= 0.150


async def test_no_task_is_left_behind_whatever_ends_an_answer(
    provider: Provider, generation: GenerationClient
) -> None:
    await write(generation)
    before = len(asyncio.all_tasks())
    for behaviour in ({"stall_after": 2}, {"error_after": 2}, {"gap": "60"}, {"status": 500}):
        provider.behaviour = Behaviour()
        provider.behave(**behaviour)
        prompt = replace(PROMPT, stall_limit_s=0.1)
        with pytest.raises(MeshError):
            await write(generation, prompt)
    provider.behaviour = Behaviour()
    await write(generation)
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - nobody tells of their end
            await asyncio.sleep(0.01)


# What is refused


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"question": ""}, "question: must be 1 to 8,000 characters, is blank"),
        ({"question": "x" * 8001}, "question: must be at most 8,000 characters, has 8,001"),
        ({"system": "x" * 32_001}, "system: must be at most 32,000 characters, has 32,001"),
        ({"passages": (RHINE,) * 101}, "passages: must be at most 100, has 101"),
        ({"history": (Turn(Role.USER, "x"),) * 51}, "history: must be at most 50, has 51"),
        (
            {"history": (Turn(Role.USER, "x"), Turn(Role.UNSPECIFIED, "x"))},
            "history[1].role: must be ROLE_USER or ROLE_ASSISTANT",
        ),
        (
            {"history": (Turn(Role.USER, "x" * 8001),)},
            "history[0].text: must be at most 8,000 characters, has 8,001",
        ),
        ({"max_output_tokens": 64_001}, "max_output_tokens: must be 1 to 64,000, is 64,001"),
        ({"max_output_tokens": -1}, "max_output_tokens: must be 1 to 64,000, is -1"),
        ({"output_schema": "[]"}, "output_schema: must be a JSON Schema: a JSON object"),
        ({"stall_limit_s": 0.0}, "stall_limit: must be more than 0 s, is 0 s"),
        ({"stall_limit_s": -1.5}, "stall_limit: must be more than 0 s, is -1.5 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "with",
)
async def test_a_field_outside_its_limits_is_named_with_its_limit(
    provider: Provider, generation: GenerationClient, fields: dict[str, Any], expected: str
) -> None:
    error, _ = await failing(generation, replace(PROMPT, **fields))
    assert isinstance(error, InvalidFieldError)
    assert str(error) == expected
    assert provider.calls == []


async def test_a_tier_of_a_later_version_is_refused(serve: Serve) -> None:
    request = pb.GenerateTextRequest(tenant_id="acme", question="Why?", tier=9)  # type: ignore[arg-type]
    async with serve() as address, Connection.open(address) as connection:
        with pytest.raises(aio.AioRpcError) as caught:
            await GenerationServiceStub(connection.channel).GenerateText(request).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "tier: must be a known tier"


async def test_requests_at_their_limits_are_answered(generation: GenerationClient) -> None:
    prompt = Prompt(
        "acme",
        "x" * 8000,
        system="x" * 32_000,
        passages=tuple(passage(f"p{number}", "A text.") for number in range(100)),
        history=(Turn(Role.USER, "x" * 8000),) * 50,
        max_output_tokens=64_000,
    )
    assert end_of(await write(generation, prompt)).finish_reason is FinishReason.END_TURN


async def test_a_tenant_that_the_caller_may_not_speak_for_is_refused(serve: Serve) -> None:
    identities = Identities.of([("token", Identity("app", frozenset({"rival"})))])
    async with (
        serve(identities=identities) as address,
        Connection.open(address, token="token") as connection,  # noqa: S106 - the test's own
    ):
        error, _ = await failing(GenerationClient(connection))
    assert isinstance(error, TenantNotAllowedError)


# The process


@asynccontextmanager
async def process(
    port: int, log: Path, **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    env = {name: value for name, value in os.environ.items() if "ANTHROPIC" not in name}
    env |= {"GENERATION_ADDRESS": f"127.0.0.1:{port}", **variables}
    command = (sys.executable, "-m", "services.generation")
    # A file, for a pipe that nobody reads would fill up and stop the process.
    with await asyncio.to_thread(log.open, "wb") as stderr:
        running = await asyncio.create_subprocess_exec(*command, env=env, stderr=stderr)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def until_healthy(connection: Connection) -> None:
    stub = health_pb2_grpc.HealthStub(connection.channel)
    request = health_pb2.HealthCheckRequest(service=GenerationServicer.NAME)
    async with asyncio.timeout(60):
        response = await stub.Check(request, wait_for_ready=True)
        while response.status != health_pb2.HealthCheckResponse.SERVING:
            await asyncio.sleep(0.05)
            response = await stub.Check(request)


async def test_the_process_writes_with_the_key_of_a_file_and_drains(
    provider: Provider, tmp_path: Path, unused_tcp_port: int
) -> None:
    secret = tmp_path / "key"
    await asyncio.to_thread(secret.write_text, "very-secret\n")
    provider.behave(api_key="very-secret")
    variables = {
        "GENERATION_ANTHROPIC_API_KEY_FILE": str(secret),
        "GENERATION_ANTHROPIC_BASE_URL": provider.url,
        "HASTEN_LOG_LEVEL": "debug",
    }
    log = tmp_path / "log"
    async with process(unused_tcp_port, log, **variables) as running:
        async with Connection.open(f"127.0.0.1:{unused_tcp_port}") as connection:
            await until_healthy(connection)
            assert end_of(await write(GenerationClient(connection))).first_text_s
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0
    said = await asyncio.to_thread(log.read_text)
    assert "is ready" in said
    assert "very-secret" not in said


async def test_the_process_is_healthy_and_quotes_while_its_provider_is_dead(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    port, nobody = unused_tcp_port_factory(), unused_tcp_port_factory()
    variables = {
        "ANTHROPIC_API_KEY": "a-key",
        "GENERATION_ANTHROPIC_BASE_URL": f"http://127.0.0.1:{nobody}",
    }
    async with (
        process(port, tmp_path / "log", **variables),
        Connection.open(f"127.0.0.1:{port}") as connection,
    ):
        await until_healthy(connection)
        client = GenerationClient(connection)
        error, _ = await failing(client)
        assert isinstance(error, ModelUnavailableError)
        await until_healthy(connection)
        events = await write(client, replace(PROMPT, tier=ModelTier.EXTRACTIVE))
        assert end_of(events).finish_reason is FinishReason.END_TURN


async def test_the_process_refuses_to_start_without_the_key_that_it_needs(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    log = tmp_path / "log"
    async with process(unused_tcp_port, log, GENERATION_ENGINE="anthropic") as running:
        assert await running.wait() == 1
    assert "GENERATION_ANTHROPIC_API_KEY" in await asyncio.to_thread(log.read_text)
