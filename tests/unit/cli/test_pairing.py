"""Pairs with a label, and the rates of a rule on them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from cli.pairing import (
    LabelledPair,
    Outcome,
    PairsError,
    Rates,
    at_cosine,
    at_target,
    by_kind,
    curves,
    least_target,
    rates,
    read_pairs,
    summary,
)
from cli.plotting import plotted

SAME, OTHER = LabelledPair("a", "b", True, "name"), LabelledPair("a", "c", False, "time")
OUTCOMES = (
    Outcome(SAME, True, "OK", 0.9, 0.95),
    Outcome(SAME, False, "BELOW_TARGET", 0.8, 0.6),
    Outcome(OTHER, False, "FACTS_DIFFER", 0.96, 0.1),
    Outcome(OTHER, True, "OK", 0.93, 0.91),
    Outcome(OTHER, False, "NOT_SHARED", 0.99, None),
)


def test_recall_counts_what_is_the_same_and_false_reuse_what_is_not() -> None:
    assert rates(OUTCOMES, lambda each: each.hit) == Rates(0.5, 0.3333, 0.5)


def test_a_rate_of_nothing_is_none_and_not_zero() -> None:
    assert rates(OUTCOMES[:2], lambda _: False) == Rates(0.0, None, None)


def test_what_was_never_judged_is_reused_at_no_target() -> None:
    assert not at_target(0.0)(OUTCOMES[-1])
    assert at_target(0.0)(OUTCOMES[2])


def test_plain_cosine_stands_beside_the_decision() -> None:
    figures = summary(OUTCOMES)
    assert figures["recall"] == 0.5
    assert figures["cosine"]["0.92"]["false_reuse"] == 1.0
    assert figures["reasons"] == {"OK": 2, "BELOW_TARGET": 1, "FACTS_DIFFER": 1, "NOT_SHARED": 1}
    assert set(by_kind(OUTCOMES)) == {"name", "time"}


def test_curves_fall_as_the_rule_grows_stricter() -> None:
    for curve in curves(OUTCOMES).values():
        recalls = [each["recall"] or 0.0 for each in curve]
        assert recalls == sorted(recalls, reverse=True)
        assert curve[0]["at"] == 0.0
        assert curve[-1]["at"] == 1.0


def test_the_floor_itself_is_reused() -> None:
    assert at_cosine(0.9)(OUTCOMES[0])


def test_curves_are_drawn_as_well_formed_svg() -> None:
    drawing = ET.fromstring(plotted(curves(OUTCOMES)))  # noqa: S314 - our own
    assert len(drawing.findall("{http://www.w3.org/2000/svg}path")) >= 2


def test_a_file_of_pairs_is_read_with_its_kinds(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"a": "x", "b": "y", "same": true, "category": "time"}\n\n', "utf-8")
    assert read_pairs(file) == [LabelledPair("x", "y", True, "time")]


@pytest.mark.parametrize(
    "line",
    ["", "{}", "[1]", '{"a": "x", "b": "y", "same": 1}', '{"a": "", "b": "y", "same": true}'],
)
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(line, "utf-8")
    with pytest.raises(PairsError, match=r"pairs\.jsonl"):
        read_pairs(file)


def test_the_least_target_that_keeps_the_promise_is_found() -> None:
    assert least_target(OUTCOMES, 0.0) == 0.92
    assert least_target(OUTCOMES, 0.4) == 0.11
    assert least_target(OUTCOMES, 1.0) == 0.0
