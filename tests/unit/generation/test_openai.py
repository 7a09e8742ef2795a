import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import (
    MeshError,
    ModelInterruptedError,
    ModelOverloadedError,
    ModelUnavailableError,
)
from libs.values import Citation, FinishReason, ModelTier, Passage, Role, TextDelta, Turn, Usage
from libs.values.generation import Model, Prompt
from services.generation.chat import ChatLayout, Markers, laid_out
from services.generation.engine import Finished, Piece
from services.generation.openai import ChatSettings, OpenAIEngine, open_client, usage_of
from tests.support.provider import Behaviour, Provider

MODEL = Model(ModelTier.BEST, "a-model", "openai")
LONG = "The river is long. " * 30


def document(name: str, text: str) -> Passage:
    return Passage(name, name, 1, name.title(), "", text, 0, len(text))


DOCUMENTS = tuple(document(f"doc{number}", f"{LONG}Its name is {number}.") for number in range(9))
FOUND = replace(DOCUMENTS[1], passage_id="found", text="The river is long.", end_offset=18)
WHOLE = Prompt("acme", "Why?", system="Be brief.", passages=(FOUND,), documents=DOCUMENTS)
PLAIN = Prompt("acme", "Why?", passages=(FOUND, replace(DOCUMENTS[2], passage_id="a")))


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider(Behaviour(words=5, cites=2)).serve() as running:
        yield running


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[httpx2.AsyncClient]:
    url = f"{provider.url}/v1"
    made = await asyncio.to_thread(
        open_client, "a-key", base_url=url, connect_limit_s=2.0, max_connections=9
    )
    async with made:
        yield made


@pytest.fixture
def engine(client: httpx2.AsyncClient) -> OpenAIEngine:
    return OpenAIEngine(client, MODEL, ChatSettings())


async def written(engine: OpenAIEngine, prompt: Prompt = PLAIN) -> list[Piece]:
    return [piece async for piece in engine.generate(prompt)]


def end_of(pieces: list[Piece]) -> Finished:
    assert isinstance(pieces[-1], Finished)
    return pieces[-1]


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))


def test_numbers_in_brackets_are_left_alone_in_json_and_cite_elsewhere() -> None:
    text = '{"years": [1], "pages": [ [2] ]}'
    for schema, expected in (("{}", text), ("", '{"years":, "pages": [ ]}')):
        markers = Markers(laid_out(replace(PLAIN, output_schema=schema)))
        pieces = [*markers.feed(text), *markers.close()]
        assert text_of(pieces) == expected  # type: ignore[arg-type]


async def test_text_comes_without_the_numbers_and_with_what_they_cite(
    provider: Provider, engine: OpenAIEngine
) -> None:
    pieces = await written(engine)
    citations = [piece for piece in pieces if isinstance(piece, Citation)]
    sources = {each.document_id: each for each in DOCUMENTS}
    assert "[" not in text_of(pieces)
    assert len(citations) == 2
    for each in citations:
        text = sources[each.document_id].text
        assert text[each.start_offset : each.end_offset] == each.cited_text
        assert PLAIN.passages[each.source_index].document_id == each.document_id
    assert end_of(pieces).finish_reason is FinishReason.END_TURN
    assert provider.calls[0].headers["authorization"] == "Bearer a-key"


async def test_cached_tokens_are_read_back(provider: Provider, engine: OpenAIEngine) -> None:
    first, second = [
        end_of(await written(engine, replace(WHOLE, question=each))) for each in ("Why?", "How?")
    ]
    seen = provider.calls[1].usage
    assert seen is not None
    assert first.usage.cache_read_tokens == 0
    assert second.usage.cache_read_tokens == seen.read > second.usage.input_tokens
    assert second.usage.input_tokens + second.usage.cache_read_tokens == seen.tokens


async def test_of_cold_requests_at_once_one_pays(provider: Provider, engine: OpenAIEngine) -> None:
    provider.behave(read_per_1k=0.1)
    prompts = [
        replace(WHOLE, question=f"Why {number}?", first_text_limit_s=60.0) for number in range(4)
    ]
    ends = await asyncio.gather(*(written(engine, each) for each in prompts))
    assert sum(end_of(each).usage.cache_read_tokens == 0 for each in ends) == 1


async def test_what_was_warmed_is_read_by_the_first_question(engine: OpenAIEngine) -> None:
    await engine.warm(replace(WHOLE, question="", passages=()))
    assert end_of(await written(engine, WHOLE)).usage.cache_read_tokens > 0


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({}, Usage()),
        ({"prompt_tokens": 7, "completion_tokens": 2}, Usage(7, 2)),
        ({"prompt_tokens": 7, "prompt_tokens_details": None}, Usage(7)),
        ({"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": None}}, Usage(7)),
        ({"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 5}}, Usage(2, 0, 5)),
        ({"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(0, 0, 7)),
    ],
)
def test_usage_is_read_as_servers_state_it(said: dict[str, Any], usage: Usage) -> None:
    assert usage_of(said) == usage


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        ({"overload_rate": 1.0, "overload_status": 429, "retry_after": "7"}, ModelOverloadedError),
        ({"status": 500}, ModelUnavailableError),
        ({"api_key": "another"}, ModelUnavailableError),
        ({"error_after": 0}, ModelUnavailableError),
        ({"error_after": 3}, ModelInterruptedError),
        ({"drop_after": 3}, ModelInterruptedError),
        ({"end_after": 3}, ModelInterruptedError),
    ],
)
async def test_what_goes_wrong_has_a_name(
    provider: Provider,
    engine: OpenAIEngine,
    behaviour: dict[str, Any],
    kind: type[MeshError],
) -> None:
    provider.behave(**behaviour)
    with pytest.raises(kind):
        await written(engine)


async def test_a_limit_ends_the_text(engine: OpenAIEngine) -> None:
    pieces = await written(engine, replace(PLAIN, max_output_tokens=2))
    assert end_of(pieces).finish_reason is FinishReason.MAX_TOKENS


async def test_a_schema_is_asked_for(provider: Provider, engine: OpenAIEngine) -> None:
    schema = json.dumps({"type": "object", "properties": {"a": {"type": "string"}}})
    pieces = await written(engine, replace(PLAIN, output_schema=schema))
    assert json.loads(text_of(pieces)) == {"a": "text"}
    assert provider.calls[0].request["response_format"]["type"] == "json_schema"


@given(st.permutations([FOUND, *DOCUMENTS[2:5]]), st.text(min_size=1))
def test_all_before_the_question_is_the_same_whatever_is_asked_and_found(
    found: list[Passage], question: str
) -> None:
    other = laid_out(replace(WHOLE, passages=tuple(found), question=question)).messages
    assert other[:-1] == laid_out(WHOLE).messages[:-1]


def test_the_conversation_comes_after_the_sources_and_the_question_last() -> None:
    history = (Turn(Role.USER, "Hello."), Turn(Role.ASSISTANT, "Hello you."))
    messages = laid_out(replace(PLAIN, system="Be brief.", history=history)).messages
    assert [each["role"] for each in messages] == ["system", "user", "user", "assistant", "user"]
    assert messages[-1]["content"] == "Why?"


@given(st.data(), st.text(alphabet="ab [12]9", max_size=40))
def test_however_a_text_is_cut_the_same_is_read(data: st.DataObject, text: str) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    bounds = [0, *cuts, len(text)]
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    assert read(pieces) == read([text])


def read(pieces: list[str]) -> tuple[str, list[Citation]]:
    layout: ChatLayout = laid_out(PLAIN)
    markers = Markers(layout)
    events = [event for piece in pieces for event in markers.feed(piece)]
    events += markers.close()
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return text, [event for event in events if isinstance(event, Citation)]


def test_a_number_of_no_source_stays_in_the_text() -> None:
    text, citations = read(["Of 1821 [1], see [777] and a[", "0] [x"])
    assert text == "Of 1821, see [777] and a[0] [x"
    assert [each.answer_offset for each in citations] == [len("Of 1821")]
