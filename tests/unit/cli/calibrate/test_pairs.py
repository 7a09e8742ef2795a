"""Pairs that are made for a fit: seeded, labelled as they were made, never of the check sets."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cli.calibrate.edits import EDITS
from cli.calibrate.fitting import SIGNS, fit
from cli.calibrate.logistic import fitted
from cli.calibrate.pairs import Pair, dressed, made, neighbours, plain
from cli.calibrate.rewordings import REWORDINGS
from services.cache.judging.features import NAMES


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - chance that comes out the same


TEXTS = [
    "who wrote the book of job",
    "how do i cancel my card before friday",
    "can i pay with a credit card or cash",
    "did the king attack the village",
    "is it safe to open 2 accounts in france",
    "in 1990 , Anna Miller moved from Rome to Paris with Paul",
]


def test_the_same_seed_makes_the_same_pairs() -> None:
    first = list(made(TEXTS, 200, seeded(1)))
    assert first == list(made(TEXTS, 200, seeded(1)))
    assert first != list(made(TEXTS, 200, seeded(2)))


def test_edits_are_another_question_and_rewordings_the_same() -> None:
    for pair in made(TEXTS, 300, seeded(3)):
        assert pair.same == (pair.kind in REWORDINGS)
        assert (pair.kind in EDITS) != pair.same
        assert pair.a != pair.b


@pytest.mark.parametrize(
    ("kind", "text", "must"),
    [
        ("number", "is it safe to open 2 accounts", "2"),
        ("opposite", "trains before noon", "before"),
        ("negation", "is it safe", ""),
        ("name", "where does miller live", "miller"),
        ("both_or_either", "tea or coffee", "or"),
        ("wrong_passive", "did anna attack paul", "did"),
        ("crossed", "will he see her", "he see her"),
    ],
)
def test_an_edit_changes_what_it_is_named_for(kind: str, text: str, must: str) -> None:
    words = EDITS[kind][0](text.split(), seeded(4))
    assert words is not None
    assert " ".join(words) != text
    assert not must or must not in " ".join(words).split(" ") or kind == "crossed"


def test_a_passive_keeps_the_roles_and_a_wrong_one_turns_them_round() -> None:
    asked, chance = "did anna attack paul", seeded(0)
    assert REWORDINGS["passive"][0](asked, chance) == "was paul attacked by anna"
    turned = EDITS["wrong_passive"][0](asked.split(), chance)
    assert turned == ["was", "anna", "attacked", "by", "paul"]


def test_names_change_places_and_the_words_between_stay() -> None:
    words = ["he", "moved", "from", "Rome", "to", "New", "York", "in", "May"]
    swapped = {" ".join(EDITS["swap_runs"][0](words, seeded(s)) or []) for s in range(9)}
    assert "he moved from New York to Rome in May" in swapped


def test_neighbours_that_share_an_answer_are_the_same_only_if_they_are_near() -> None:
    texts = [("a", frozenset("1")), ("b", frozenset("1")), ("c", frozenset("2"))]
    vectors = np.array([[1, 0], [0.8, 0.6], [0.96, 0.28]], np.float32)
    near = neighbours(texts, vectors, "near", least=0.7, most_same=0.9)
    assert {(pair.a, pair.b, pair.same) for pair in near} == {("a", "c", False), ("b", "c", False)}


def test_a_text_is_dressed_without_a_change_of_words() -> None:
    chance = seeded(5)
    assert {plain(dressed("who wrote it", chance)) for _ in range(20)} == {"who wrote it"}


def test_a_regression_finds_the_odds_that_made_the_labels() -> None:
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(20_000, 2))
    odds = rows @ np.array([1.5, -1.0]) + 0.5
    labels = (chance.random(20_000) < 1 / (1 + np.exp(-odds))).astype(float)
    weights, bias = fitted(rows, labels, np.ones(20_000), ridge=1e-6)
    assert weights == pytest.approx([1.5, -1.0], abs=0.1)
    assert bias == pytest.approx(0.5, abs=0.1)


def test_a_weight_never_goes_against_its_sign() -> None:
    rows = np.array([[0.0], [1.0]] * 50)
    labels = np.array([0.0, 1.0] * 50)
    weights, _ = fitted(rows, labels, np.ones(100), signs=np.array([-1.0]))
    assert weights[0] == 0


def test_a_fact_that_differs_never_makes_reuse_likelier() -> None:
    pairs = [Pair("is it 2", "is it 3", same, "number") for same in (True, True, False)]
    found = fit(pairs, np.ones(3), np.array([0.9, 0.8, 0.1]))
    assert (found.cheap[0] * SIGNS >= 0).all()
    assert len(found.verified[0]) == len(NAMES) + 1
