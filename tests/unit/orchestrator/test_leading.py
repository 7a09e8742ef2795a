"""How long a lookup by meaning goes alone follows from what became of those before it."""

from __future__ import annotations

import pytest

from services.orchestrator.leading import Lead

USUAL_S = 0.004
PLENTY_S = 2.0


def taught(took_s: float, hits: list[bool]) -> Lead:
    lead = Lead()
    for is_hit in hits:
        lead.learn(USUAL_S, took_s, is_hit=is_hit)
    return lead


def test_lookups_that_hit_late_are_waited_for() -> None:
    lead = taught(0.009, [True] * 200)
    assert 0.008 < lead.head_start_s(USUAL_S, PLENTY_S) < 0.011


def test_nobody_waits_longer_for_misses() -> None:
    assert taught(0.009, [False] * 50).head_start_s(USUAL_S, PLENTY_S) == USUAL_S


def test_hits_that_come_back_are_waited_for_again() -> None:
    lead = taught(0.009, [False] * 50 + [True] * 50)
    assert lead.head_start_s(USUAL_S, PLENTY_S) > USUAL_S


def test_what_ends_within_its_head_start_says_nothing() -> None:
    lead = taught(0.002, [False] * 50)
    assert lead.head_start_s(USUAL_S, PLENTY_S) == Lead().head_start_s(USUAL_S, PLENTY_S)


@pytest.mark.parametrize("took_s", [0.02, 0.2, 20.0])
def test_a_cache_that_is_slow_is_not_waited_for_longer_than_four_head_starts(
    took_s: float,
) -> None:
    lead = taught(took_s, [True] * 200)
    assert lead.head_start_s(USUAL_S, PLENTY_S) == pytest.approx(4 * USUAL_S)


def test_a_policy_without_a_head_start_has_none() -> None:
    assert taught(0.009, [True] * 50).head_start_s(0.0, PLENTY_S) == 0.0


def test_little_time_is_not_spent_on_waiting() -> None:
    assert taught(0.009, [True] * 50).head_start_s(USUAL_S, 0.1) == USUAL_S
