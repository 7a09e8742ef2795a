"""Bodies that come slowly, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request

from services.edge.problem import ProblemError
from services.edge.web.arrival import Patience, arriving


def request_of(piece: bytes, every_s: float, count: int) -> Request:
    """Return a request whose body comes piece by piece."""
    left = count

    async def receive() -> dict[str, Any]:
        nonlocal left
        await asyncio.sleep(every_s)
        left -= 1
        return {"type": "http.request", "body": piece, "more_body": left > 0}

    return Request({"type": "http"}, receive)


async def read(request: Request, patience: Patience) -> str:
    """Read a body; return why it was not waited for, if it was not."""
    try:
        async for _ in arriving(request, patience):
            pass
    except ProblemError as error:
        return error.problem.reason
    return ""


async def test_what_trickles_in_does_not_hold_its_place_for_the_whole_time() -> None:
    slow = Patience(600.0, least_bytes_per_s=1_000_000, grace_s=0.05)
    assert await read(request_of(b"x", 0.005, 100_000), slow) == "BODY_TOO_SLOW"
    assert await read(request_of(b"x", 0.005, 30), Patience(600.0)) == ""


async def test_what_stands_still_is_given_up() -> None:
    still = Patience(600.0, least_bytes_per_s=1000, grace_s=0.05)
    assert await read(request_of(b"x", 600.0, 2), still) == "BODY_TOO_SLOW"


async def test_what_comes_fast_enough_may_pause_and_has_no_more_than_its_time() -> None:
    fast = request_of(b"x" * 1_000_000, 0.02, 5)
    assert await read(fast, Patience(600.0, least_bytes_per_s=10_000, grace_s=30.0)) == ""
    endless = request_of(b"x" * 1_000_000, 0.005, 100_000)
    assert await read(endless, Patience(0.1, least_bytes_per_s=10_000)) == "BODY_TIMED_OUT"


def test_every_byte_buys_time_up_to_the_whole() -> None:
    patience = Patience(60.0, least_bytes_per_s=1000, grace_s=5.0)
    assert [patience.left_s(count) for count in (0, 1000, 54_000, 56_000)] == [5, 6, 59, 60]
