import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generation.sentences import MAX_FRAGMENT_CHARS, Kind, units

# Text made of what breaks splitters: marks, fences, bullets, tables, code, blanks.
PIECES = (
    *("Dr. Who", "It ran.", "3.5", "U.S.", "e.g.", "`a. B`", '"Yes."', "。", "!", "?", "...", ":"),
    *("```\n", "```python\n", "- ", "| a |", "# Title\n", "===\n", "> ", "<p>", ">>> f()"),
    *("    x = 1", "(see [1](http://x.y))", "\n\n", "\n", " ", "word " * 80, "x" * 400),
)
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=25).map("".join)


def cut(text: str) -> list[str]:
    return [text[unit.start : unit.end] for unit in units(text)]


@given(text=texts)
def test_units_stand_in_order_and_apart_without_blanks_around_them(text: str) -> None:
    at = 0
    for unit in units(text):
        assert at <= unit.start < unit.end <= len(text)
        piece = text[unit.start : unit.end]
        assert piece == piece.strip()
        at = unit.end


@given(text=texts)
def test_what_comes_to_no_end_is_cut_to_a_length_that_can_be_quoted(text: str) -> None:
    fragments = [unit for unit in units(text) if unit.kind is Kind.FRAGMENT]
    assert all(unit.end - unit.start <= MAX_FRAGMENT_CHARS for unit in fragments)


@pytest.mark.parametrize(
    "text",
    [
        *(mark * 100_000 for mark in (".", " ", "\n", "`", "<", "[", "|", "#", ">", "-", "*", "x")),
        *(start + " " * 100_000 + "x" for start in ("# ", "-- ", "|", "![](x)", "* ", "> ")),
        *(piece * 20_000 for piece in ("a. ", "| ", "![](x) ", "\n    x", ":\n\n    x\n", "```\n")),
    ],
    ids=lambda text: f"{text[:8]!r} {len(text)}",
)
def test_no_text_takes_time_that_grows_with_its_square(text: str) -> None:
    # At 100,000 characters the square would be minutes.
    started_s = time.perf_counter()
    units(text)
    assert time.perf_counter() - started_s < 5


def test_abbreviations_initials_and_numbers_end_no_sentence() -> None:
    text = "Dr. J. Smith paid 3.5 million to the U.S. government in Jan. 1990. He left."
    assert cut(text) == [text.removesuffix(" He left."), "He left."]


def test_a_sentence_after_an_abbreviation_begins_with_a_word_that_begins_sentences() -> None:
    assert cut("He moved to the U.S. The army followed.") == [
        "He moved to the U.S.",
        "The army followed.",
    ]


def test_quotation_marks_and_notes_stay_with_their_sentence() -> None:
    assert cut('"It works." So he said.[12] Then he left.') == [
        '"It works."',
        "So he said.[12]",
        "Then he left.",
    ]


def test_marks_inside_inline_code_end_no_sentence() -> None:
    assert cut("Call `a. B()` first. Then go.") == ["Call `a. B()` first.", "Then go."]


def test_headings_rules_and_badges_are_not_quoted() -> None:
    text = (
        "# Title\n\n[![Build](https://x/y.svg)](https://x)\n\nSetext\n======\n\nThe text.\n\n---\n"
    )
    assert cut(text) == ["The text."]
    assert [unit.heading for unit in units(text)] == ["Setext"]


def test_list_items_are_quoted_without_their_bullets() -> None:
    assert cut("Use one of:\n\n* first thing\n2. second thing\n") == [
        "Use one of:",
        "first thing",
        "second thing",
    ]


def test_a_line_that_announces_something_says_so() -> None:
    assert [unit.leads for unit in units("Install it with pip:\n\nDone.")] == [True, False]


def test_fenced_code_is_one_unit_with_its_fences() -> None:
    code = "```shell\n$ pip install starlette\n\n# A comment. Not a sentence.\n```"
    found = units(f"Install it:\n\n{code}\n\nThen run it.")
    assert [unit.kind for unit in found] == [Kind.FRAGMENT, Kind.CODE, Kind.SENTENCE]
    assert cut(f"Install it:\n\n{code}\n\nThen run it.")[1] == code


def test_code_that_was_cut_off_is_not_quoted() -> None:
    assert cut("Before.\n\n```python\nx = 1\ny = 2") == ["Before."]
    assert cut("x = 1\ny = 2\n```\n\nAfter.") == ["After."]


def test_an_indented_example_is_code_but_an_indented_docstring_is_not() -> None:
    example = units("For example:\n\n    wait_for(task, 1)\n    print(2)\n\nDone.")
    assert [unit.kind for unit in example] == [Kind.FRAGMENT, Kind.CODE, Kind.SENTENCE]
    assert cut("Wait for it.\n\n    It may raise. It seldom does.\n") == [
        "Wait for it.",
        "It may raise.",
        "It seldom does.",
    ]


def test_a_row_of_a_table_is_a_unit() -> None:
    assert cut("| flag | meaning |\n|---|---|\n| `--port` | where to listen |\n") == [
        "flag | meaning",
        "`--port` | where to listen",
    ]


def test_scripts_without_spaces_are_cut_at_their_own_marks() -> None:
    assert cut("これは文です。次の文です。") == ["これは文です。", "次の文です。"]
