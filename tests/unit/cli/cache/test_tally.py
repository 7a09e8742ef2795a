from __future__ import annotations

import pytest

from cli.cache.tally import Made, Prices, Tally, WrongHit
from libs.values import CacheLayer

PRICES = Prices(input_usd=2.0, output_usd=10.0)


def seen(layer: CacheLayer = CacheLayer.SEMANTIC, question: str = "Who?") -> WrongHit:
    return WrongHit.of(7, question, layer, 0.95)


def test_rates_are_of_the_answered_questions() -> None:
    tally = Tally()
    tally.miss("a", Made(None, 2.0), "Who?")
    tally.hit("a", None, seen(CacheLayer.EXACT), 0.1)
    tally.hit("a", None, seen(), 0.1)
    tally.shared_count = 1
    tally.refused["NOTHING_FOUND"] = 5
    tally.failed["OVERLOADED"] = 1
    assert (tally.question_count, tally.answered_count) == (10, 4)
    assert tally.hit_rate == 0.5
    assert tally.calls_saved == 0.75
    members = tally.members(PRICES)
    assert members["layers"]["exact"] == {"hits": 1, "rate": 0.25, "judged": 0, "wrong": 0}
    assert members["refused"] == {"NOTHING_FOUND": 5}


def test_a_hit_on_an_answer_of_another_group_is_wrong() -> None:
    tally = Tally()
    tally.miss("a", Made("1", 2.0), "Who wrote Hamlet?")
    tally.hit("a", "1", seen(), 0.1)
    tally.hit("a", "2", seen(question="Who wrote Faust?"), 0.1)
    assert tally.wrong_rate == 0.5
    assert tally.wrong == [WrongHit(7, "Who wrote Faust?", "semantic", 0.95, "Who wrote Hamlet?")]


def test_a_hit_is_not_judged_where_a_group_is_not_known() -> None:
    tally = Tally()
    tally.miss("a", Made("1", 2.0), "Who?")
    tally.miss("b", Made(None, 2.0), "What?")
    tally.hit("a", None, seen(), 0.1)
    tally.hit("b", "1", seen(), 0.1)
    tally.hit("from before", "1", seen(), 0.1)
    assert (tally.judged.total(), tally.wrong) == (0, [])
    assert tally.wrong_rate == 0.0


def test_a_hit_saves_what_its_answer_took_less_what_it_took() -> None:
    tally = Tally()
    tally.miss("a", Made(None, 3.0, 1_000, 100), "Who?")
    tally.miss("b", Made(None, 1.0, 3_000, 300), "What?")
    tally.hit("a", None, seen(), 0.25)
    tally.hit("a", None, seen(), 0.25)
    assert tally.saved_s() == pytest.approx(5.5)
    assert tally.saved_tokens() == (2_000, 200)
    assert tally.members(PRICES)["saved_usd"] == pytest.approx(0.006)


def test_an_answer_from_before_is_taken_to_cost_what_the_others_did() -> None:
    tally = Tally()
    tally.miss("a", Made(None, 3.0, 1_000, 100), "Who?")
    tally.miss("b", Made(None, 1.0, 3_000, 300), "What?")
    tally.hit("from before", None, seen(), 0.5)
    assert tally.saved_s() == pytest.approx(1.5)
    assert tally.saved_tokens() == (2_000, 200)


def test_what_cannot_be_known_is_not_told() -> None:
    tally = Tally()
    tally.hit("from before", "1", seen(), 0.5)
    assert not {"saved_s", "saved_usd"} & tally.members(PRICES).keys()
    tally.miss("a", Made(None, 3.0), "Who?")
    members = tally.members(PRICES)
    assert "saved_s" in members
    assert "saved_usd" not in members
