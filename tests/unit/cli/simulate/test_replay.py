import asyncio
import random
import time
from pathlib import Path

import pytest

from cli.simulate.replay import TODAY, WHAT_IF, changes_of, recorded_s, replayed
from cli.simulate.running import Result, simulate
from cli.simulate.scenario import ScenarioError
from cli.simulating import accounts_of, results_json
from cli.tracing import ANSWERS
from libs.clients import Connection
from libs.clients.traces import TracesClient
from libs.server.testing import serving
from libs.values import Account, HopAccount, Piece, PieceKind
from libs.values.account_json import account_to_json
from libs.values.traces import ACCOUNT_ATTRIBUTE, Span
from services.traces.servicer import TracesServicer
from services.traces.store import SpanStore


def account(number: int, *, hedged: bool = False) -> Account:
    """Return an answer as the mesh accounts for it; one search in ten is cut at 50 ms."""
    chance = random.Random(number)  # noqa: S311 - no secret
    embed_s, takes_s = chance.uniform(0.008, 0.016), chance.uniform(0.02, 0.053)
    search_s, is_cut = min(takes_s, 0.05), takes_s > 0.05
    model_s, start_s = chance.uniform(0.1, 0.4), embed_s + search_s
    ways = [
        HopAccount("embedding", 0.0, 0.5, embed_s, outcome="ok"),
        HopAccount("retrieval", embed_s, 0.05, search_s, outcome="TIMED_OUT" if is_cut else "ok"),
        HopAccount("generation", start_s, 0.4, model_s + 0.5, outcome="ok"),
        HopAccount("cache.semantic", 0.0, skipped="NO_TIME"),
    ]
    if hedged:
        ways[2] = HopAccount("generation", start_s, 0.4, 0.3, outcome="lost")
        ways.append(HopAccount("generation", start_s + 0.2, 0.2, 0.6, outcome="ok"))
        model_s = 0.2 + chance.uniform(0.05, 0.1)
    names = ("embedding", "retrieval", "generation")
    pieces = tuple(Piece(name, PieceKind.WAITING, 0.0, 0.01) for name in names)
    return Account(1.0, start_s + model_s, pieces, tuple(ways))


ACCOUNTS = [account(number) for number in range(400)]
HEDGED = ACCOUNTS + [account(number, hedged=True) for number in range(60)]


def side_by_side(accounts: list[Account], *told: str, budget_s: float = 0.4) -> list[Result]:
    return simulate(replayed(accounts, budget_s, changes_of(told), 2_000), [1], workers=1)


def test_today_and_what_if_stand_side_by_side() -> None:
    today, other = side_by_side(ACCOUNTS, "retrieval=-20ms", budget_s=2.0)
    assert (today.way, other.way) == (TODAY, WHAT_IF)
    faster_s = today.figures["p50_s"][0] - other.figures["p50_s"][0]
    assert 0.01 < faster_s < 0.03


def test_a_faster_search_means_fewer_misses() -> None:
    today, other = side_by_side(ACCOUNTS, "retrieval=-20ms")
    assert other.figures["miss"][0] < today.figures["miss"][0]


def test_today_is_much_as_it_was_recorded() -> None:
    (today, _), recorded = side_by_side(ACCOUNTS, budget_s=2.0), recorded_s(ACCOUNTS)
    median_s = recorded[len(recorded) // 2]
    assert today.figures["p50_s"][0] == pytest.approx(median_s, rel=0.1)


def test_without_a_change_both_are_the_same() -> None:
    today, other = side_by_side(ACCOUNTS)
    assert today.figures == other.figures


def test_a_call_that_was_cut_is_not_taken_to_have_ended() -> None:
    case, _ = replayed(ACCOUNTS, 0.4, changes_of([]), 100)
    below = case.draws.below["retrieval"] if hasattr(case.draws, "below") else ()
    search = next(hop for hop in case.scenario.hops if hop.hop == "retrieval")
    assert search.cut_loss is not None
    # At 50 ms, where the rest was cut, not all have ended.
    assert 0.8 < max(each for each in below if each < 0.999) < 0.999
    assert search.median_ms == pytest.approx(36, rel=0.1)


def test_a_smaller_allowance_means_fewer_second_calls() -> None:
    today, other = side_by_side(HEDGED, "share=0.02", budget_s=0.45)
    assert other.figures["extra"][0] < today.figures["extra"][0]
    assert other.figures["miss"][0] >= today.figures["miss"][0]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("retrieval=20", "retrieval=20"),
        ("retrieval", "retrieval"),
        ("share=2", "share"),
        ("share=much", "share"),
        ("nowhere=-5ms", "nowhere"),
        ("share=0.1", "no second call"),
    ],
)
def test_a_change_that_cannot_be_is_named(told: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        replayed(ACCOUNTS, 0.4, changes_of([told]), 100)


def test_too_few_answers_are_said_to_be_too_few() -> None:
    with pytest.raises(ScenarioError, match="20 needed"):
        replayed(ACCOUNTS[:5], 0.4, changes_of([]), 100)


def test_results_can_be_read_by_a_program() -> None:
    told = results_json(side_by_side(ACCOUNTS), 1)
    assert '"way": "today"' in told
    assert "NaN" not in told


def root(number: int) -> Span:
    return Span(
        trace_id=f"{number:032x}",
        span_id=f"{number:016x}",
        parent_span_id="",
        name=ANSWERS[number % 2],
        service="edge",
        start_ns=time.time_ns() + number,
        duration_ns=1_000_000,
        status="OK",
        kind="SERVER",
        attributes={ACCOUNT_ATTRIBUTE: account_to_json(ACCOUNTS[number])},
    )


async def test_accounts_are_read_from_the_trace_store(tmp_path: Path) -> None:
    store = await asyncio.to_thread(SpanStore.open, tmp_path)
    await asyncio.to_thread(store.add, [root(number) for number in range(1, 41)], time.time())
    servicer = TracesServicer(store, settle_s=0.0, clock=time.time)
    async with serving(servicer.register) as address, Connection.open(address) as connection:
        found = await accounts_of(TracesClient(connection), 30)
    await asyncio.to_thread(store.close)
    assert len(found) == 30
    assert found[0] == ACCOUNTS[40]
