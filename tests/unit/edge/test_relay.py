"""Events become frames: each once, in order, and no grapheme cut in two where it can be helped."""

from __future__ import annotations

import asyncio
import json

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from libs.values import (
    AnswerEvent,
    Event,
    Outline,
    Revised,
    Section,
    SectionText,
    Sources,
    TextDelta,
)
from services.edge.answers.relay import Relay
from services.edge.web.sse import EventStream, Flow

Told = list[tuple[int, str, str]]


async def told(*events: Event, wait_s: float = 0.0) -> Told:
    """The (id, name, text) of each frame that events become, numbered from 1."""
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    stream = EventStream(send, flow=Flow(0, 0))
    async with stream.kept_awake(60):
        with Relay(stream) as relay:
            for number, event in enumerate(events, 1):
                await relay.tell(AnswerEvent(number, event))
            await asyncio.sleep(wait_s)
            before_end = b"".join(sent)
    await stream.end()
    return parsed((before_end if wait_s else b"".join(sent)).decode())


def parsed(text: str) -> Told:
    found = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        data = json.loads(fields["data"])
        found.append((int(fields.get("id", 0)), fields["event"], data.get("text", "")))
    return found


@pytest.mark.parametrize(
    "texts",
    [
        ("👩", "\u200d", "💻", " wrote"),
        ("🇩", "🇪 won"),
        ("❤", "\ufe0f", " is"),
        ("👍", "\U0001f3fd", " good"),
        ("क", "ि", " "),
        ("\u1112", "\u1161", "\u11ab", " "),
        ("line\r", "\nnext"),
        ("ที", "่", " "),
        ("cafe\u0301 e", "\u0301 ."),
    ],
)
async def test_a_grapheme_that_comes_in_parts_is_told_whole(texts: tuple[str, ...]) -> None:
    frames = await told(*map(TextDelta, texts), Sources((), 1, ""))
    texts_told = [text for _, name, text in frames if name == "text"]
    assert "".join(texts_told) == "".join(texts)
    whole = regex.findall(r"\X", "".join(texts))
    assert [each for text in texts_told for each in regex.findall(r"\X", text)] == whole
    # Its number is that of the last event that it holds.
    assert frames[-2][0] == len(texts)


async def test_plain_text_is_held_by_nothing() -> None:
    texts = ("Because ", "the sky", ", größer", " 天空", ".")
    frames = await told(*map(TextDelta, texts))
    assert [text for _, _, text in frames] == list(texts)
    assert [number for number, _, _ in frames] == [1, 2, 3, 4, 5]


async def test_what_is_held_goes_when_nothing_follows() -> None:
    assert await told(TextDelta("🇩"), wait_s=0.4) == [(1, "text", "🇩")]


async def test_what_is_held_goes_before_what_is_no_text() -> None:
    frames = await told(TextDelta("👩"), Revised("STALE"), TextDelta("x"))
    assert frames == [(1, "text", "👩"), (2, "revised", ""), (3, "text", "x")]


async def test_what_is_held_is_bounded() -> None:
    frames = await told(*[TextDelta("क" * 100)] * 6, TextDelta("."))
    assert [number for number, _, _ in frames] == [3, 6, 7]


async def test_texts_of_two_sections_are_not_joined() -> None:
    outline = Outline((Section("a", "A"), Section("b", "B")))
    frames = await told(
        outline,
        SectionText("a", "🇩"),
        SectionText("b", "🇫"),
        SectionText("b", "🇷"),
        SectionText("a", "."),
    )
    assert [(number, text) for number, _, text in frames[1:]] == [(2, "🇩"), (4, "🇫🇷"), (5, ".")]


async def test_an_event_that_is_not_of_the_run_has_no_number() -> None:
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    with Relay(EventStream(send)) as relay:
        await relay.tell(AnswerEvent(0, Revised("RUN_INTERRUPTED")))
    assert b"id:" not in b"".join(sent)


@given(
    st.lists(st.text(st.sampled_from("ab \u0301\u200d👩💻🇩🇪क\u093f\r\n"), max_size=4), max_size=12)
)
def test_the_text_up_to_each_number_is_that_of_the_run(texts: list[str]) -> None:
    frames = asyncio.run(told(*map(TextDelta, texts), Revised("END")))
    assert frames[-1][:2] == (len(texts) + 1, "revised")
    so_far = ""
    for number, _, text in frames[:-1]:
        so_far += text
        assert so_far == "".join(texts[:number])
