"""Chat completions over real HTTP, by OpenAI's own client and by hand."""

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from libs.clients import Connection
from libs.errors import OverloadedError, PolicyNotFoundError, UnreachableError
from libs.server.testing import serving
from libs.values import (
    AnswerState,
    Citation,
    Event,
    FinishReason,
    Passage,
    Revised,
    Role,
    Sources,
    TextDelta,
    Turn,
    Usage,
)
from tests.support.edges import COMPLETED, PLAN, Edge, Replica, Story, open_edge
from tests.support.waiting import until

PASSAGE = Passage("d1:1:0", "d1", 1, "Sky", "", "Blue light scatters.", 0, 20)
CITATION = Citation(0, "d1", "Blue light scatters.", 0, 20, 8)
END = replace(COMPLETED, usage=Usage(10, 5, 3, 2))
WHOLE: Sequence[Event] = (
    PLAN,
    Sources((PASSAGE,), 7, "fused"),
    TextDelta("Because "),
    TextDelta("of „scattering“."),
    CITATION,
    END,
)
TEXT = "Because of „scattering“."
MESSAGES: list[Any] = [{"role": "user", "content": "Why is the sky blue?"}]
BODY = {"model": "hasten", "messages": MESSAGES}

NODE_VERSION = "7.57.0"
SCRIPT = Path(__file__).parents[1] / "support/node/chat.mjs"


class Failing(Replica):
    """Refuses its first calls."""

    def __init__(self, story: Story) -> None:
        super().__init__(story)
        self.errors: list[Exception] = []

    async def has_arrived(self) -> bool:
        return bool(self.asked)

    async def StreamAnswer(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if self.errors:
            raise self.errors.pop(0)
        async for each in super().StreamAnswer(request, context):
            yield each


@pytest.fixture
def replica() -> Failing:
    return Failing(Story(list(WHOLE)))


@pytest.fixture
async def edge(replica: Failing) -> AsyncIterator[Edge]:
    async with (
        serving(replica.register) as address,
        Connection.open(address) as connection,
        open_edge(connection) as opened,
    ):
        yield opened


@pytest.fixture
async def client(edge: Edge) -> AsyncIterator[openai.AsyncOpenAI]:
    # What it imports reads files.
    http = await asyncio.to_thread(openai.DefaultAsyncHttpxClient, trust_env=False)
    url = f"http://127.0.0.1:{edge.port}/v1"
    async with openai.AsyncOpenAI(api_key="any", base_url=url, http_client=http) as made:
        yield made


async def chunks_of(client: openai.AsyncOpenAI, **more: Any) -> list[ChatCompletionChunk]:
    stream = await client.chat.completions.create(
        model="hasten", messages=MESSAGES, stream=True, **more
    )
    return [each async for each in stream]


def joined(chunks: Sequence[ChatCompletionChunk]) -> str:
    return "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)


async def test_the_client_has_an_answer_with_its_sources(client: openai.AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(model="hasten", messages=MESSAGES)
    assert completion.id == "chatcmpl-run-1"
    assert completion.choices[0].message.content == TEXT
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == 15
    assert (completion.usage.completion_tokens, completion.usage.total_tokens) == (5, 20)
    assert completion.model_extra is not None
    extension = completion.model_extra["hasten"]
    assert extension["run_id"] == "run-1"
    assert extension["sources"][0]["document_id"] == "d1"
    assert extension["citations"][0]["cited_text"] == "Blue light scatters."
    assert (extension["quality"], extension["cache"]) == ("full", None)
    assert extension["latency"]["total_ms"] == 500
    assert extension["unused"] == []


async def test_the_client_has_a_stream_that_ends_with_the_sources(
    client: openai.AsyncOpenAI,
) -> None:
    chunks = await chunks_of(client)
    assert joined(chunks) == TEXT
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["hasten"]["sources"][0]["document_id"] == "d1"
    assert {each.id for each in chunks} == {"chatcmpl-run-1"}


async def test_a_stream_says_what_it_used_if_that_is_asked_for(client: openai.AsyncOpenAI) -> None:
    chunks = await chunks_of(client, stream_options={"include_usage": True})
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 20
    assert joined(chunks) == TEXT


async def test_a_stream_ends_with_the_word_that_says_so(edge: Edge) -> None:
    response = await edge.http.post("/v1/chat/completions", json=BODY | {"stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-run-id"] == "run-1"
    assert response.text.endswith("data: [DONE]\n\n")
    assert "event:" not in response.text


async def test_the_conversation_arrives_and_what_has_no_effect_is_named(
    client: openai.AsyncOpenAI, replica: Failing
) -> None:
    completion = await client.chat.completions.create(
        model="hasten:patient",
        messages=[
            {"role": "system", "content": "Be a pirate."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
        ],
        temperature=0,
        max_tokens=100,
        tools=[{"type": "function", "function": {"name": "f"}}],
        tool_choice="auto",
        user="u",
        extra_body={
            "brand_new": 1,
            "hasten": {"collection": "manuals", "scope": "hr", "minimum_quality": "full"},
        },
    )
    asked = replica.asked[0]
    assert (asked.question, asked.policy) == ("Why?", "patient")
    assert asked.history == (Turn(Role.USER, "Hi"), Turn(Role.ASSISTANT, "Hello"))
    assert (asked.collection, asked.scope, asked.minimum_quality.name) == ("manuals", "hr", "FULL")
    assert completion.model == "hasten:patient"
    assert completion.model_extra is not None
    assert sorted(completion.model_extra["hasten"]["unused"]) == [
        "brand_new",
        "max_tokens",
        "messages[0]",
        "temperature",
        "tool_choice",
        "tools",
        "user",
    ]


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        ({"type": "text"}, ""),
        ({"type": "json_object"}, '{"type": "object"}'),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}},
            '{"type": "array"}',
        ),
    ],
)
async def test_a_response_format_is_an_output_schema(
    client: openai.AsyncOpenAI, replica: Failing, form: Any, schema: str
) -> None:
    await client.chat.completions.create(model="hasten", messages=MESSAGES, response_format=form)
    assert replica.asked[0].output_schema == schema


IMAGE = [{"type": "image_url", "image_url": {"url": "data:"}}]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"messages": [{"role": "user", "content": IMAGE}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [*MESSAGES, {"role": "assistant", "content": "x"}]}, "messages"),
    ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
    ({"messages": [*MESSAGES, {"role": "tool", "content": "x"}]}, "messages[1].role"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
    ({"n": 2}, "n"),
    ({"stop": ["."]}, "stop"),
    ({"logprobs": True}, "logprobs"),
    ({"modalities": ["audio"]}, "modalities"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ({"hasten": {"buget_ms": 1}}, "hasten.buget_ms"),
    ({"hasten": {"cache_control": "never"}}, "hasten.cache_control"),
    ({"hasten": {"deadline_ms": 1e9}}, "hasten.deadline_ms"),
]


@pytest.mark.parametrize(("more", "param"), REFUSED)
async def test_what_cannot_be_had_is_refused_by_its_name(
    edge: Edge, replica: Failing, more: dict[str, Any], param: str
) -> None:
    response = await edge.http.post("/v1/chat/completions", json=BODY | more)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert replica.asked == []


@pytest.mark.parametrize("model", ["gpt-4o", "hasten:", "hastens", ""])
async def test_a_model_that_is_not_ours_is_not_found(
    client: openai.AsyncOpenAI, model: str
) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        await client.chat.completions.create(model=model, messages=MESSAGES)
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


async def test_a_policy_that_is_not_there_is_a_model_that_is_not_found(
    client: openai.AsyncOpenAI, replica: Failing
) -> None:
    replica.errors = [PolicyNotFoundError("no policy hasty")]
    with pytest.raises(openai.NotFoundError) as raised:
        await client.chat.completions.create(model="hasten:hasty", messages=MESSAGES)
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_client_tries_again_what_may_go_well_then(
    client: openai.AsyncOpenAI, replica: Failing, *, stream: bool
) -> None:
    replica.errors = [OverloadedError("full", retry_after_s=0.1)]
    if stream:
        assert joined(await chunks_of(client)) == TEXT
    else:
        await client.chat.completions.create(model="hasten", messages=MESSAGES)
    assert replica.errors == []


async def test_a_server_that_is_full_is_a_limit_to_the_client(
    client: openai.AsyncOpenAI, replica: Failing
) -> None:
    replica.errors = [OverloadedError("full", retry_after_s=2.5)]
    with pytest.raises(openai.RateLimitError) as raised:
        await client.with_options(max_retries=0).chat.completions.create(
            model="hasten", messages=MESSAGES
        )
    assert raised.value.response.headers["retry-after"] == "3"
    assert raised.value.type == "rate_limit_error"


async def test_a_failure_within_a_stream_is_raised_by_the_client(
    client: openai.AsyncOpenAI, replica: Failing
) -> None:
    replica.story.events[4:] = []
    streaming = asyncio.create_task(chunks_of(client))
    await until(replica.has_arrived)
    await asyncio.sleep(0.1)
    replica.break_off()
    with pytest.raises(openai.APIError) as raised:
        await streaming
    assert raised.value.code == UnreachableError.reason.lower()


async def test_text_that_is_written_again_as_it_was_goes_on(
    client: openai.AsyncOpenAI, replica: Failing
) -> None:
    again = (TextDelta("Beca"), TextDelta("use of „"), TextDelta("scattering“."))
    replica.story.events = [PLAN, TextDelta("Because "), Revised("MODEL_INTERRUPTED"), *again, END]
    assert joined(await chunks_of(client)) == TEXT


async def test_a_stream_whose_text_was_wrong_fails_and_is_never_taken_for_whole(
    client: openai.AsyncOpenAI, replica: Failing
) -> None:
    replica.story.events = [PLAN, TextDelta("No. "), Revised("STALE"), TextDelta("Yes."), END]
    with pytest.raises(openai.APIError) as raised:
        await chunks_of(client)
    assert raised.value.code == "answer_revised"
    whole = await client.chat.completions.create(model="hasten", messages=MESSAGES)
    assert whole.choices[0].message.content == "Yes."


@pytest.mark.parametrize(
    ("reason", "state", "said"),
    [
        (FinishReason.END_TURN, AnswerState.COMPLETE, "stop"),
        (FinishReason.NO_ANSWER, AnswerState.UNSUPPORTED, "stop"),
        (FinishReason.MAX_TOKENS, AnswerState.PARTIAL, "length"),
        (FinishReason.BUDGET, AnswerState.PARTIAL, "length"),
        (FinishReason.INTERRUPTED, AnswerState.PARTIAL, "length"),
        (FinishReason.NO_ANSWER, AnswerState.DEFERRED, "length"),
        (FinishReason.REFUSAL, AnswerState.REFUSED, "content_filter"),
    ],
)
async def test_each_end_has_a_reason_that_clients_know(
    client: openai.AsyncOpenAI,
    replica: Failing,
    reason: FinishReason,
    state: AnswerState,
    said: str,
) -> None:
    replica.story.events[-1] = replace(END, finish_reason=reason, answer_state=state)
    completion = await client.chat.completions.create(model="hasten", messages=MESSAGES)
    assert completion.choices[0].finish_reason == said
    assert (await chunks_of(client))[-1].choices[0].finish_reason == said


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_cancels_its_answer(
    client: openai.AsyncOpenAI, replica: Failing, *, stream: bool
) -> None:
    replica.story.events[4:] = []
    asking = asyncio.create_task(
        client.chat.completions.create(model="hasten", messages=MESSAGES, stream=stream)
    )
    await until(replica.has_arrived)
    if stream:
        await (await asking).close()  # type: ignore[union-attr]
    else:
        asking.cancel()
    await asyncio.wait_for(replica.cancelled.wait(), 10)
    await asyncio.gather(asking, return_exceptions=True)


async def test_the_clients_timeout_is_the_answers_deadline(
    client: openai.AsyncOpenAI, replica: Failing
) -> None:
    replica.story.events[2:] = []
    with pytest.raises(openai.APIStatusError) as raised:
        await client.with_options(max_retries=0).chat.completions.create(
            model="hasten",
            messages=MESSAGES,
            timeout=httpx.Timeout(30),
            extra_headers={"X-Stainless-Read-Timeout": "0.2"},
        )
    assert raised.value.status_code == 504


async def test_the_client_lists_the_policies_as_models(client: openai.AsyncOpenAI) -> None:
    found = [each.id async for each in client.models.list()]
    assert found == ["hasten", "hasten:interactive", "hasten:patient"]
    assert (await client.models.retrieve("hasten:patient")).owned_by == "hasten"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-4o")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_reads_a_stream(edge: Edge) -> None:
    curl = await asyncio.create_subprocess_exec(
        "curl",
        "-sN",
        "--noproxy",
        "*",
        f"http://127.0.0.1:{edge.port}/v1/chat/completions",
        "-H",
        "Content-Type: application/json",
        "-d",
        json.dumps(BODY | {"stream": True}),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(curl.communicate(), 30)
    lines = [line for line in out.decode().splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[0].removeprefix("data: "))["object"] == "chat.completion.chunk"


def node_client() -> Path:
    """A folder with OpenAI's client for Node, from the registry the first time."""
    home = Path(os.environ.get("HASTEN_HOME", ".hasten")).absolute() / f"openai-{NODE_VERSION}"
    if not (home / "node_modules" / "openai").is_dir():
        home.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(home)]
        done = subprocess.run(
            [*command, f"openai@{NODE_VERSION}"],
            capture_output=True,
            check=False,
            text=True,
            timeout=100,
        )
        if done.returncode:
            pytest.skip("the client for Node cannot be had from here")
    return home


@pytest.mark.prove
@pytest.mark.skipif(shutil.which("npm") is None, reason="Node and npm are not installed")
async def test_the_client_for_node_works_unchanged(edge: Edge) -> None:
    home = await asyncio.to_thread(node_client)
    script = home / "chat.mjs"  # where it finds the client
    await asyncio.to_thread(shutil.copy, SCRIPT, script)
    node = await asyncio.create_subprocess_exec(
        "node", str(script), f"http://127.0.0.1:{edge.port}/v1", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(node.communicate(), 60)
    assert json.loads(out) == {
        "whole": TEXT,
        "text": TEXT,
        "finish": "stop",
        "run": "run-1",
        "models": ["hasten", "hasten:interactive", "hasten:patient"],
        "refused": {"kind": "NotFoundError", "code": "model_not_found"},
    }


@pytest.mark.prove
async def test_a_client_that_leaves_cancels_its_answer_within_150_ms(
    client: openai.AsyncOpenAI, replica: Failing
) -> None:
    replica.story.events[4:] = []
    waits_s = []
    for _ in range(20):
        replica.cancelled.clear()
        stream = await client.chat.completions.create(
            model="hasten", messages=MESSAGES, stream=True
        )
        await anext(aiter(stream))
        left_s = time.monotonic()
        await stream.close()
        await asyncio.wait_for(replica.cancelled.wait(), 10)
        waits_s.append(time.monotonic() - left_s)
    print(f"left to cancelled: longest {max(waits_s) * 1e3:.1f} ms")
    assert max(waits_s) < 0.15
