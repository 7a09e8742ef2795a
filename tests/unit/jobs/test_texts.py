"""Texts as kinds of jobs cut, weigh, quote and condense them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.jobs.kinds.condensing import condensed
from services.jobs.kinds.parts import PART_CHARACTERS, groups, spans
from services.jobs.kinds.quotes import place_of
from services.jobs.kinds.words import central, ranked, sentences, words_of

texts = st.text(st.sampled_from("ab .。\n\t"), max_size=300)


@given(texts, st.integers(1, 40))
def test_parts_are_the_whole_text_but_for_blanks_and_none_is_too_long(text: str, most: int) -> None:
    cut = spans(text, most)
    assert all(end - start <= most for start, end in cut)
    assert all(text[start:end].strip() for start, end in cut)
    pieces = [text[start:end] for start, end in cut]
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert [start for start, _ in cut] == sorted({start for start, _ in cut})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two.\n\nx. Three.", ["One. Two.\n\n", "x. Three."]),
        ("aaaa bbbb. cccc dd", ["aaaa bbbb. ", "cccc dd"]),
        ("aaaaaaaaaaaaaaaa", ["aaaaaaaaaaaa", "aaaa"]),
    ],
)
def test_a_part_ends_where_a_reader_would_pause(text: str, parts: list[str]) -> None:
    assert [text[start:end] for start, end in spans(text, 12)] == parts


@given(st.lists(st.integers(0, 50)), st.integers(1, 60), st.integers(1, 5))
def test_groups_keep_order_and_sizes(sizes: list[int], most: int, most_things: int) -> None:
    gathered = groups(range(len(sizes)), sizes, most, most_things)
    assert [each for group in gathered for each in group] == list(range(len(sizes)))
    for group in gathered:
        assert len(group) <= most_things
        assert len(group) == 1 or sum(sizes[each] for each in group) <= most


async def test_texts_that_do_not_fit_are_made_fewer_until_they_do() -> None:
    asked: list[int] = []

    async def condense(some: Sequence[str]) -> str:
        asked.append(len(some))
        return "x" * PART_CHARACTERS

    made = await condensed(["y" * 5_000] * 100, condense)
    assert sum(map(len, made)) <= PART_CHARACTERS
    assert all(count > 1 for count in asked)
    assert await condensed(["a", "b"], condense) == ["a", "b"]
    assert await condensed(["y" * 90_000], condense) == ["y" * 90_000]


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("lost nine metres", "lost nine  metres"),
        ("\u201cLOST nine metres...\u201d", "lost nine  metres"),
        ("nine metres of ice", None),
        ("  ", None),
        ("(a+)+$", None),
    ],
)
def test_a_quote_is_found_word_for_word_or_not_at_all(quote: str, found: str | None) -> None:
    text = "It lost nine  metres\nof snow."
    place = place_of(quote, text)
    assert (None if place is None else text[slice(*place)]) == found


def test_words_of_scripts_without_blanks_are_pairs_of_characters() -> None:
    assert words_of("Internationally, 氷河は9m!") == ["interna", "氷河", "河は", "9m"]


def test_sentences_leave_out_headings_code_tables_and_scraps() -> None:
    text = (
        "# A heading here\n\n- First point of the list.\n- Ok\n\n"
        "```\nx = 1 and so on\n```\n| a table | row |"
    )
    assert sentences(text) == ["First point of the list."]


def test_the_central_sentences_are_what_the_text_is_about_and_do_not_repeat() -> None:
    text = (
        "The glacier loses ice every year. The glacier lost ice last year as every year. "
        "My aunt likes tea with milk. Ice of the glacier is measured with stakes. "
        "The stakes in the ice are read in August."
    )
    chosen = central(text, 2)
    assert chosen[0] == "The glacier loses ice every year."
    assert "My aunt likes tea with milk." not in chosen
    assert central(text, 99) == sentences(text)
    assert central("", 3) == []


@given(st.text(max_size=300))
def test_any_text_can_be_weighed(text: str) -> None:
    assert len(central(text, 3)) <= 3
    assert set(ranked(text, [text, "other words"])) <= {0, 1}


def test_texts_are_ranked_by_the_words_that_they_share_with_a_question() -> None:
    found = ranked("glacier ice", ["bread", "ice in a glass", "the ice of the glacier"])
    assert found == [2, 1]
