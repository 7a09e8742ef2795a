"""What the mesh adds to the time to the first text, where the model takes none."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from anthropic import AsyncAnthropic

from libs.values import Account, CacheControl, Completed, Quality, Question, TextDelta
from tests.bench.rig import COLLECTION, TENANT, Rig
from tests.bench.timing import OtherWayError, Turns, in_turns, percentile

_MODEL = "claude-sonnet-5-5"
# What comes before the model is asked.
HOPS = ("embedding", "retrieval")
# As many as the policy gives its model, so that both send as much.
_PASSAGES = 6
_TURNS = Turns(rounds=15, per_round=12)


async def measure_first_text(rig: Rig) -> dict[str, float]:
    """Return times to the first text, in ms: of the provider's own client, and what is added."""
    async with AsyncAnthropic(api_key="a-key", base_url=rig.simulator, max_retries=0) as sdk:

        async def direct() -> float:
            return await _directly(sdk, rig)

        accounts: list[Account] = []

        async def mesh() -> float:
            first_s, account = await through(rig)
            accounts.append(account)
            return first_s

        found = await in_turns({"direct": direct, "mesh": mesh}, _TURNS)
    p50 = {name: percentile(each, 50) for name, each in found.items()}
    p95 = {name: percentile(each, 95) for name, each in found.items()}
    return {
        "first_text_over_direct": p50["mesh"] / p50["direct"],
        "first_text_added_ms": p50["mesh"] - p50["direct"],
        "first_text_added_p95_ms": p95["mesh"] - p95["direct"],
        **{f"first_text_{hop}_ms": _median_ms(accounts, hop) for hop in HOPS},
        "direct_first_text_ms": p50["direct"],
        "direct_first_text_p95_ms": p95["direct"],
        "mesh_first_text_ms": p50["mesh"],
        "mesh_first_text_p95_ms": p95["mesh"],
    }


def _median_ms(accounts: Sequence[Account], hop: str) -> float:
    """Return the median of what a hop took, where it was called."""
    used_s = [each.used_s for account in accounts for each in account.hops if each.hop == hop]
    return statistics.median(used_s) * 1e3 if used_s else 0.0


async def _directly(sdk: AsyncAnthropic, rig: Rig) -> float:
    """Ask the model as a program without a mesh would; return seconds to its first text."""
    prompt = "\n\n".join((*rig.texts[:_PASSAGES], rig.unasked()))
    started_s = time.perf_counter()
    first_s = 0.0
    stream = await sdk.messages.create(
        model=_MODEL,
        max_tokens=512,
        stream=True,
        messages=[{"role": "user", "content": prompt}],
    )
    async for event in stream:
        is_text = event.type == "content_block_delta" and event.delta.type == "text_delta"
        if is_text and not first_s:
            first_s = time.perf_counter() - started_s
    return first_s


async def through(rig: Rig) -> tuple[float, Account]:
    """Ask the mesh, which searches first; return seconds to the first text, and the account.

    Raises:
        OtherWayError: the model that should answer did not.
    """
    question = Question(
        TENANT, rig.unasked(), collection=COLLECTION, cache_control=CacheControl.BYPASS
    )
    started_s = time.perf_counter()
    first_s, completed = 0.0, None
    async with rig.modelled.ask(question, limit_s=20) as events:
        async for numbered in events:
            if isinstance(numbered.event, TextDelta) and not first_s:
                first_s = time.perf_counter() - started_s
            if isinstance(numbered.event, Completed):
                completed = numbered.event
    if completed is None or completed.model != _MODEL or completed.quality is not Quality.FULL:
        raise OtherWayError(f"not the whole way: {completed}")
    return first_s, completed.account
