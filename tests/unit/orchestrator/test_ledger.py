"""The account partitions a run, whatever the run did."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.values import PieceKind, Timing
from services.orchestrator.ledger import Ledger

lengths = st.floats(0, 5, allow_nan=False)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


step = st.fixed_dictionaries(
    {
        "hop": st.sampled_from(["embedding", "retrieval", "generation"]),
        "before": lengths,
        "wait": lengths,
        "after_end": lengths,
        "ends": st.booleans(),
        "timing": st.none() | st.builds(Timing, lengths, lengths, lengths),
    }
)


@given(steps=st.lists(step, max_size=8), tail=lengths)
def test_pieces_sum_to_the_whole_without_gap_or_overlap(
    steps: list[dict[str, Any]], tail: float
) -> None:
    clock = Clock()
    ledger = Ledger(clock)
    for each in steps:
        clock.now_s += each["before"]
        record = ledger.start(each["hop"], granted_s=1.0)
        with ledger.waiting(record):
            clock.now_s += each["wait"]
            if each["ends"]:
                record.end("ok", each["timing"])
        clock.now_s += each["after_end"]
    clock.now_s += tail
    account = ledger.close()
    at_s = 0.0
    for piece in account.pieces:
        assert piece.start_s == pytest.approx(at_s, abs=1e-6)
        assert piece.length_s >= 0
        at_s += piece.length_s
    assert at_s == pytest.approx(account.total_s, abs=1e-6)


def test_a_wait_is_cut_by_what_its_server_said() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    record = ledger.start("retrieval", granted_s=0.5)
    with ledger.waiting(record):
        clock.now_s += 0.100
        record.end("ok", Timing(queue_s=0.010, compute_s=0.060))
    cut = {piece.kind: piece.length_s for piece in ledger.close().pieces}
    assert cut == pytest.approx(
        {PieceKind.QUEUE: 0.010, PieceKind.COMPUTE: 0.060, PieceKind.NETWORK: 0.030}
    )


def test_a_loser_is_in_the_hops_but_not_on_the_path() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    loser = ledger.start("cache.exact", granted_s=1.0)
    winner = ledger.start("embedding", granted_s=1.0)
    with ledger.waiting(winner):
        clock.now_s += 0.02
        winner.end("ok", Timing(compute_s=0.02))
    loser.end("cancelled")
    account = ledger.close()
    assert {piece.hop for piece in account.pieces} == {"embedding"}
    assert [(hop.hop, hop.outcome) for hop in account.hops] == [
        ("cache.exact", "cancelled"),
        ("embedding", "ok"),
    ]


def test_time_that_the_run_lost_itself_is_its_own() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    clock.now_s += 0.050
    account = ledger.close()
    assert [(piece.hop, piece.kind) for piece in account.pieces] == [
        ("orchestrator", PieceKind.COMPUTE)
    ]
    assert account.unattributed_s == 0


def test_a_skipped_hop_says_why() -> None:
    ledger = Ledger(Clock())
    ledger.skip("embedding", "NO_TIME")
    (hop,) = ledger.close().hops
    assert (hop.hop, hop.skipped) == ("embedding", "NO_TIME")
