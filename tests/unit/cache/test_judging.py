"""Two questions, looked at without a model: facts, features, and who may share an answer."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest

from services.cache.judging.calibration import (
    Calibration,
    CalibrationError,
    log_odds,
    probability,
)
from services.cache.judging.eligibility import Unshared, unshared
from services.cache.judging.facts import facts_of
from services.cache.judging.features import NAMES, features, is_reformatted


def feature(name: str, a: str, b: str) -> float:
    return float(features(a, b, 0.9)[NAMES.index(name)])


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("What is my balance right now?", Unshared.FRESH),
        ("What's the weather today?", Unshared.FRESH),
        ("Transfer 100 euros to Anna.", Unshared.ACTION),
        ("Please cancel my card", Unshared.ACTION),
        ("Can you book a table for two", Unshared.ACTION),
        ("Write a poem about the sea", Unshared.CREATIVE),
        ("tell me a joke", Unshared.CREATIVE),
    ],
)
def test_what_is_of_the_moment_or_to_be_done_or_made_up_is_not_shared(
    question: str, why: Unshared
) -> None:
    assert unshared(question) is why


@pytest.mark.parametrize(
    "question",
    [
        "How do I cancel my card?",
        "Can I transfer money abroad?",
        "Who wrote Hamlet?",
        "Who is the president of Zambia?",
        "What does it cost to send money?",
        "What is the fee to transfer money, and what do I need for it?",
    ],
)
def test_a_question_about_a_deed_is_shared(question: str) -> None:
    assert unshared(question) is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What's the fee?", "what is the fee"),
        ("I can't log in", "I can not log in."),
        ("Who wrote Hamlet ?", "who wrote hamlet"),
        ("the top ten films", "the top 10 films"),
    ],
)
def test_case_marks_contractions_and_number_words_are_no_difference(a: str, b: str) -> None:
    assert is_reformatted(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("is it safe", "is it not safe"),
        ("top 10 films", "top 11 films"),
        ("man bites dog", "dog bites man"),
        ("money in", "money out"),
    ],
)
def test_any_other_word_or_order_is_a_difference(a: str, b: str) -> None:
    assert not is_reformatted(a, b)


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        ("numbers", "loans over 30 years", "loans over 15 years"),
        ("numbers_one", "loans over 30 years", "loans over years"),
        ("negation", "are deposits insured", "are deposits not insured"),
        ("opposed", "trains from Rome before noon", "trains from Rome after noon"),
        ("class", "is it open on monday", "is it open on friday"),
        ("names", "where does Anna Miller live", "where does Paul Miller live"),
        ("asking", "who wrote it", "when wrote it"),
        ("owners", "what is my limit", "what is his limit"),
        ("fresh", "who is the king", "who is the current king"),
        ("times", "who is the king", "who was the king"),
        ("joint", "tea or coffee", "tea and coffee"),
    ],
)
def test_a_fact_that_differs_shows(name: str, a: str, b: str) -> None:
    assert feature(name, a, b) > 0
    assert feature(name, a, a) == 0


def test_a_swap_of_roles_shows_in_the_order_alone() -> None:
    assert feature("order", "did france attack spain", "did spain attack france") > 0
    assert feature("shared", "did france attack spain", "did spain attack france") == 1


def test_features_do_not_depend_on_who_asks_first() -> None:
    pairs = [("how old is Anna", "what is the age of Paul"), ("a b c", "c b a d 7")]
    for a, b in pairs:
        assert np.allclose(features(a, b, 0.8), features(b, a, 0.8))


def test_a_text_without_words_has_facts_too() -> None:
    assert facts_of("??!").words == ()
    assert np.isfinite(features("??!", "", 1.0)).all()


def test_log_odds_and_probability_undo_each_other() -> None:
    for chance in (0.001, 0.3, 0.5, 0.999):
        assert probability(log_odds(chance)) == pytest.approx(chance)


def test_the_data_that_ships_loads() -> None:
    shipped = Calibration.shipped()
    assert shipped.fingerprints
    assert 0 < shipped.low < shipped.target < 1


def test_data_of_other_features_is_refused() -> None:
    text = files("services.cache.judging").joinpath("data/reuse.json").read_text("utf-8")
    with pytest.raises(CalibrationError):
        Calibration.of(json.loads(text) | {"features": ["cosine"]})
    with pytest.raises(CalibrationError):
        Calibration.of(json.loads(text) | {"target": 1.5})


@pytest.mark.parametrize(
    ("asked", "stored", "is_same"),
    [
        ("Hello, can you please tell me how old the moon is? Thanks!", "how old the moon is", True),
        ("just wondering, who built it", "Who built it?", True),
        ("Please", "thanks", False),
        ("Do you know Paris?", "Do they know Paris?", False),
        ("tell me", "please tell me", True),
    ],
)
def test_what_is_said_around_a_question_does_not_make_it_another(
    asked: str, stored: str, *, is_same: bool
) -> None:
    assert is_reformatted(asked, stored) is is_same
