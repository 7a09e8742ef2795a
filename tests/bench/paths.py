"""How long each way to an answer takes through a real mesh, against a bare echo."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.bench.bare import two_hops
from tests.bench.echo import echoing
from tests.bench.rig import COLLECTION, STORED, Rig
from tests.bench.timing import OtherWayError, Way, medians_ms
from tests.bench.web import FIRST_EVENT, Line, line_to

_PATH = "/v1/answers"
_BODY = {"question": STORED, "collection": COLLECTION}

Send = Callable[[bytes], Awaitable[bytes]]


async def measure_ways(rig: Rig) -> dict[str, float]:
    """Return medians in ms by way, taken in turns, and their ratios."""
    async with (
        echoing() as echo,
        two_hops(rig.place.addresses["redis"]) as bare,
        line_to(rig.place.addresses["edge"]) as edge,
    ):
        found = await medians_ms(_ways(rig, echo, bare, edge))
    echo_ms, exact_ms = found["echo_ms"], found["exact_ms"]
    return {
        **found,
        "bare_two_hops_over_echo": found["bare_two_hops_ms"] / echo_ms,
        "exact_over_echo": exact_ms / echo_ms,
        "semantic_over_exact": found["semantic_ms"] / exact_ms,
        "miss_over_exact": found["miss_ms"] / exact_ms,
        "http_over_exact": found["http_exact_ms"] / exact_ms,
    }


def _ways(rig: Rig, echo: Send, two_hops: Send, edge: Line) -> dict[str, Way]:
    async def bare() -> None:
        await echo(b"x" * 256)

    async def bare_two_hops() -> None:
        await two_hops(b"x" * 256)

    async def json() -> None:
        await http_exact(edge)

    async def first_event() -> float:
        return (await edge.post(_PATH, _BODY, FIRST_EVENT)).first_s

    return {
        "echo_ms": bare,
        "bare_two_hops_ms": bare_two_hops,
        "exact_ms": rig.exact,
        "http_exact_ms": json,
        "http_exact_first_text_ms": first_event,
        "semantic_ms": rig.semantic,
        "miss_ms": rig.miss,
    }


async def http_exact(edge: Line) -> None:
    """Ask the edge what is stored.

    Raises:
        OtherWayError: it was no exact hit.
    """
    reply = await edge.post(_PATH, _BODY)
    if reply.headers.get("x-cache") != "hit exact":
        raise OtherWayError(f"X-Cache: {reply.headers.get('x-cache')}")
