import asyncio
import statistics
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx
import pytest

from tests.support.provider import Behaviour, Provider
from tests.support.provider.behaviour import Delays
from tests.support.provider.rules import problem

RESULT = {
    "type": "search_result",
    "source": "s",
    "title": "T",
    "content": [{"type": "text", "text": "One. "}, {"type": "text", "text": "Two."}],
    "citations": {"enabled": True},
}
REQUEST: dict[str, Any] = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 1000,
    "messages": [
        {"role": "user", "content": [RESULT]},
        {"role": "user", "content": "Why?"},
    ],
}


def marked(ttl: str) -> dict[str, Any]:
    return {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": ttl}}


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider(Behaviour(api_key="a-key")).serve() as running:
        yield running


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[anthropic.AsyncAnthropic]:
    def opened() -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(api_key="a-key", base_url=provider.url, max_retries=0)

    async with await asyncio.to_thread(opened) as made:
        yield made


@pytest.fixture
async def http(provider: Provider) -> AsyncIterator[httpx.AsyncClient]:
    def opened() -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=provider.url)

    async with await asyncio.to_thread(opened) as made:
        yield made


def test_the_same_seed_draws_the_same_delays() -> None:
    drawn = [[Delays(7).next("gap", "lognormal:0.5:0.4") for _ in range(3)] for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_delays_spread_around_their_median() -> None:
    delays = Delays(1)
    drawn = [delays.next("gap", "lognormal:0.5:0.4") for _ in range(2000)]
    assert statistics.median(drawn) == pytest.approx(0.5, rel=0.1)
    assert min(drawn) < 0.25
    assert max(drawn) > 1.0


def test_listed_delays_come_in_turn() -> None:
    delays = Delays(1)
    assert [delays.next("first", "1,2") for _ in range(5)] == [1, 2, 1, 2, 1]


@pytest.mark.parametrize("changes", [{"wrods": 3}, {"gap": "soon"}], ids=str)
def test_a_behaviour_that_does_not_exist_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="wrods|soon"):
        Behaviour().changed(changes)


def test_a_request_that_the_api_takes_is_taken() -> None:
    assert problem(REQUEST) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0, "stream": True}, "max_tokens: 0 cannot be used with stream"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "must end with a user message"),
        ({"messages": [{"role": "user", "content": " "}]}, "non-whitespace"),
        ({"thinking": {"type": "disabled"}}, "is not supported for this model"),
        ({"output_config": {"format": {}}}, "citations cannot be used with"),
        ({"system": [marked("5m")] * 5}, "a maximum of 4"),
        ({"system": [marked("2h")]}, "is neither '5m' nor '1h'"),
        ({"system": [marked("5m"), marked("1h")]}, "must not come after a ttl='5m' one"),
        (
            {
                "messages": [
                    {"role": "user", "content": [RESULT, {**RESULT, "citations": {}}]},
                    {"role": "user", "content": "Why?"},
                ]
            },
            "for all search results or for none",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "with",
)
def test_a_request_that_the_api_refuses_is_refused(changes: dict[str, Any], expected: str) -> None:
    assert expected in (problem({**REQUEST, **changes}) or "")


async def test_an_answer_in_one_piece_is_the_streamed_one(
    client: anthropic.AsyncAnthropic,
) -> None:
    whole = await client.messages.create(**REQUEST)
    async with client.messages.stream(**REQUEST) as stream:
        streamed = await stream.get_final_message()
    assert [block.type for block in whole.content] == ["text", "text"]
    assert whole.content[1].to_dict() == streamed.content[1].to_dict() | {}
    assert (whole.stop_reason, streamed.stop_reason) == ("end_turn", "end_turn")


async def test_no_two_answers_are_alike(client: anthropic.AsyncAnthropic) -> None:
    answers = [await client.messages.create(**REQUEST) for _ in range(3)]
    assert len({str(answer.content[0]) for answer in answers}) == 3


async def test_a_cited_block_is_quoted_in_full(client: anthropic.AsyncAnthropic) -> None:
    answer = await client.messages.create(**REQUEST)
    cited = answer.content[1]
    assert isinstance(cited, anthropic.types.TextBlock)
    assert cited.citations is not None
    assert [citation.cited_text for citation in cited.citations] == ["Two."]


async def test_a_wrong_key_is_refused(provider: Provider, http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/messages", json=REQUEST, headers={"x-api-key": "another"})
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "authentication_error"
    assert provider.outcomes() == ["refused"]


async def test_behaviour_is_changed_from_outside(
    provider: Provider, http: httpx.AsyncClient, client: anthropic.AsyncAnthropic
) -> None:
    response = await http.post("/_control", json={"words": 3, "cites": 0})
    assert response.json()["words"] == 3
    answer = await client.messages.create(**REQUEST)
    assert answer.usage.output_tokens == provider.behaviour.words == 3
    stats = (await http.get("/_stats")).json()
    assert (stats["requests"], stats["in_flight"], stats["complete"]) == (1, 0, 1)


async def test_a_slip_in_a_behaviour_from_outside_changes_nothing(
    provider: Provider, http: httpx.AsyncClient
) -> None:
    before = provider.behaviour
    assert (await http.post("/_control", json={"wrods": 3})).status_code == 400
    assert provider.behaviour == before


async def test_one_request_may_be_answered_otherwise(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    provider.next_behave(status=500)
    with pytest.raises(anthropic.InternalServerError):
        await client.messages.create(**REQUEST)
    await client.messages.create(**REQUEST)
    assert provider.outcomes() == ["refused", "complete"]
