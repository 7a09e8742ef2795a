import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from services.edge.web.sse import EventStream, frame


@settings(deadline=None)  # a busy machine proves nothing
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_can_break_out_of_its_frame(text: str) -> None:
    raw = frame("text", {"text": text}, 7).decode()
    assert raw.endswith("\n\n")
    first, second, data = raw.removesuffix("\n\n").replace("\r", "\n").split("\n")
    assert (first, second) == ("id: 7", "event: text")
    assert json.loads(data.removeprefix("data: ")) == {"text": text}


async def test_the_response_begins_with_its_first_frame() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    stream = EventStream(send)
    assert not stream.begun
    await stream.write(b"one")
    await stream.write(b"two")
    await stream.end()
    assert stream.begun
    assert [each["type"] for each in sent] == ["http.response.start", *["http.response.body"] * 3]
    assert [each["more_body"] for each in sent[1:]] == [True, True, False]


async def test_a_ping_waits_for_the_frame_that_is_being_sent() -> None:
    sent: list[bytes] = []
    free = asyncio.Event()

    async def send(message: Message) -> None:
        sent.append(message.get("body", b"start"))
        await free.wait()

    stream = EventStream(send)
    async with stream.kept_awake(0.001):
        writing = asyncio.create_task(stream.write(b"frame"))
        await asyncio.sleep(0.02)
        assert sent == [b"start"]
        free.set()
        await writing
    assert sent[1] in (b"frame", b": ping\n\n")
    assert b"frame" in sent
