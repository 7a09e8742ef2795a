from __future__ import annotations

from dataclasses import replace

import pytest

from libs.values import Quality
from services.cache import decision
from services.cache.decision import Candidate, Terms, is_near, judge
from services.cache.reasons import Reason
from tests.unit.cache.test_index import entry

STEPS = (decision.of_context, decision.unexpired, decision.good_enough)
TERMS = Terms(now_s=50.0, minimum_quality=Quality.LEXICAL, context="c")
GOOD = Candidate(0.93, entry("good"))
OLD = Candidate(0.99, entry("old", expires_at_s=50.0))
POOR = Candidate(0.95, entry("poor", quality=Quality.EXTRACTIVE))
ASTRAY = Candidate(0.97, entry("astray", context="d"))


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (GOOD, Reason.OK),
        (OLD, Reason.EXPIRED),
        (POOR, Reason.BELOW_QUALITY),
        (ASTRAY, Reason.NOT_FOUND),
    ],
)
def test_each_step_has_its_reason(candidate: Candidate, reason: Reason) -> None:
    found = judge(TERMS, [candidate], STEPS)
    assert (found.reason, found.entry is not None) == (reason, reason is Reason.OK)
    assert found.similarity == candidate.similarity


def test_the_nearest_one_that_serves_is_taken() -> None:
    found = judge(TERMS, [OLD, POOR, GOOD], STEPS)
    assert (found.entry, found.similarity, found.age_s) == (GOOD.entry, 0.93, 50.0)
    assert found.refused == ((OLD, Reason.EXPIRED), (POOR, Reason.BELOW_QUALITY))


def test_a_miss_has_the_reason_of_the_nearest() -> None:
    assert judge(TERMS, [POOR, OLD], STEPS).reason is Reason.BELOW_QUALITY
    assert judge(TERMS, [], STEPS) == decision.Judgement(Reason.NOT_FOUND)


@pytest.mark.parametrize(
    ("similarity", "floor", "near"),
    [(0.92, 0.92, True), (0.9199, 0.92, False), (0.9999999, 1.0, True), (-0.1, 0.0, False)],
)
def test_the_floor_is_reached_but_for_the_rounding(
    similarity: float, floor: float, *, near: bool
) -> None:
    assert is_near(similarity, replace(TERMS, floor=floor)) is near
