import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from services.edge.web.sse import EventStream, Flow, ReaderTooSlowError, frame


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
        await stream.write(b"frame")
        await asyncio.sleep(0.02)
        assert sent == [b"start"]
        free.set()
    assert sent[1] in (b"frame", b": ping\n\n")
    assert b"frame" in sent


class Reader:
    """A reader's end: what was written to it, one item a write, and how far behind it is."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.behind_bytes = 0
        self.takes = asyncio.Event()
        self.takes.set()
        self.is_aborted = False

    async def send(self, message: Message) -> None:
        await self.takes.wait()
        if message["type"] == "http.response.body":
            self.writes.append(message["body"])

    def get_write_buffer_size(self) -> int:
        return self.behind_bytes

    def abort(self) -> None:
        self.is_aborted = True

    async def has(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.writes) < count:  # noqa: ASYNC110 - nothing tells when they are there
                await asyncio.sleep(0.001)


# A gap that no test waits out: what is sent is sent for another reason.
PATIENT = Flow(least_gap_s=60.0, most_gap_s=60.0)


async def test_the_first_frame_goes_at_once_and_later_ones_together() -> None:
    reader = Reader()
    stream = EventStream(reader.send, reader, PATIENT)
    async with stream.kept_awake(60):
        await stream.write(b"1")
        await stream.write(b"2")
        await reader.has(1)
        for each in (b"3", b"4", b"5"):
            await stream.write(each)
        await asyncio.sleep(0.01)
    await stream.end()
    assert reader.writes == [b"12", b"345"]


async def test_what_is_urgent_goes_at_once_with_all_before_it() -> None:
    reader = Reader()
    stream = EventStream(reader.send, reader, PATIENT)
    async with stream.kept_awake(60):
        await stream.write(b"1")
        await reader.has(1)
        await stream.write(b"2")
        await stream.write(b"3", urgent=True)
        await reader.has(2)
    assert reader.writes == [b"1", b"23"]


async def test_a_frame_after_a_pause_waits_for_nothing() -> None:
    reader = Reader()
    stream = EventStream(reader.send, reader, Flow(least_gap_s=0.005, most_gap_s=60.0))
    async with stream.kept_awake(60):
        for count in range(1, 6):
            await stream.write(b"%d" % count)
            await reader.has(count)
            await asyncio.sleep(0.01)
    assert reader.writes == [b"1", b"2", b"3", b"4", b"5"]


async def test_the_gap_grows_while_the_reader_is_behind_and_shrinks_again() -> None:
    reader = Reader()
    stream = EventStream(reader.send, reader, Flow(least_gap_s=0.001, most_gap_s=0.004))
    gaps_s = []
    async with stream.kept_awake(60):
        for behind_bytes in (*[1] * 6, *[0] * 6):
            reader.behind_bytes = behind_bytes
            await stream.write(b"x")
            await reader.has(len(gaps_s) + 1)
            gaps_s.append(stream.gap_s)
    assert max(gaps_s) == gaps_s[5] == 0.004
    assert gaps_s[-1] == 0.001


async def test_a_burst_is_no_reason_to_cut_a_reader_that_keeps_up() -> None:
    reader = Reader()
    stream = EventStream(reader.send, reader, Flow(60.0, 60.0, buffer_bytes=100))
    async with stream.kept_awake(60):
        for _ in range(1000):
            await stream.write(b"x" * 10)
    await stream.end()
    assert b"".join(reader.writes) == b"x" * 10_000
    assert max(map(len, reader.writes)) <= 110
    assert not stream.is_cut


@pytest.mark.parametrize("stall_s", [0.05, 60.0])
async def test_a_reader_that_takes_nothing_is_waited_for_and_then_cut(stall_s: float) -> None:
    reader = Reader()
    stream = EventStream(reader.send, reader, Flow(0, 0, buffer_bytes=100, stall_s=stall_s))
    written_bytes = 0

    async def write() -> None:
        nonlocal written_bytes
        while True:
            await stream.write(b"x" * 10)
            written_bytes += 10

    async with stream.kept_awake(60):
        await stream.write(b"x")
        await reader.has(1)
        reader.takes.clear()
        reader.behind_bytes = 65_536
        writing = asyncio.create_task(write())
        await asyncio.wait({writing}, timeout=0.5)
        if stall_s == 60.0:
            assert not writing.done()
            writing.cancel()
            reader.takes.set()
        else:
            assert isinstance(writing.exception(), ReaderTooSlowError)
        assert (stream.is_cut, reader.is_aborted) == (stall_s < 1, stall_s < 1)
        # What is being sent, and what waits behind it.
        assert written_bytes <= 220


async def test_the_first_frame_says_when_to_come_again() -> None:
    reader = Reader()
    stream = EventStream(reader.send, reader)
    stream.retry_ms = 1500
    await stream.write(frame("text", {}, 1))
    await stream.write(frame("text", {}, 2))
    assert reader.writes == [
        b"retry: 1500\nid: 1\nevent: text\ndata: {}\n\n",
        b"id: 2\nevent: text\ndata: {}\n\n",
    ]
