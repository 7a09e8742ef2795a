"""What a model writes becomes sections as it comes, and whatever its form no text is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.values import Citation, Outline, Passage, SectionText, TextDelta
from libs.values.sections import Sections
from services.orchestrator.outlining import Excerpts, InSections, Said, title_of

QUESTION = "Why is the sky blue?"
# As the instructions ask for it.
ASKED_FOR = """## Causes
## Effects

## Causes

Blue light scatters. So it does.

- one
- two

## Effects

The sky is blue:

```
## no heading
```
"""
LINES = st.sampled_from(
    [
        *("## Causes", "## Effects", "# Title", "### Below", "##", "## ", "#hash", "## Causes ##"),
        *(
            "One sentence.",
            "Two of them. Here.",
            "",
            "  ",
            "- item",
            "    code",
            "```",
            "~~~ python",
        ),
        *("## causes:", "  ## indented", "``", "`x`", f"## {'long ' * 50}"),
    ]
)
texts = st.lists(LINES, max_size=30).map("\n".join) | st.text("#` \nab", max_size=60)
sizes = st.lists(st.integers(1, 9), max_size=200)


def citation(at: int = 0, source: int = 0) -> Citation:
    return Citation(source, f"d{source}", "cited", 0, 5, at)


def told(text: str, *sizes: int) -> list[Said]:
    """Return what is told of a text that comes in pieces of these sizes, then all of the rest."""
    form, found, at = InSections(QUESTION), [], 0
    for size in sizes:
        found += form.feed(TextDelta(text[at : at + size]))
        at += size
    return [*found, *form.feed(TextDelta(text[at:])), *form.end()]


def put_together(events: Iterable[Said]) -> Sections:
    sections = Sections()
    for event in events:
        if isinstance(event, Outline):
            begun = [each.section_id for each in sections.sections]
            assert [each.section_id for each in event.sections][: len(begun)] == begun
            sections.open(event)
        elif isinstance(event, SectionText):
            assert event.text
            assert event.section_id in {each.section_id for each in sections.sections}
            sections.write(event)
    return sections


def marks(text: str) -> Counter[str]:
    """Count what is to be read in the lines of a text that are no headings."""
    lines = (line for line in text.split("\n") if not is_heading(line))
    return Counter("".join("".join(lines).split()))


def test_a_skeleton_comes_first_and_is_filled_section_by_section() -> None:
    events = told(ASKED_FOR, *[1] * len(ASKED_FOR))
    outlines = [event for event in events if isinstance(event, Outline)]
    assert [[each.title for each in outline.sections] for outline in outlines] == [
        ["Causes"],
        ["Causes", "Effects"],
    ]
    assert events[:2] == outlines
    assert put_together(events).text() == (
        "## Causes\n\nBlue light scatters. So it does.\n\n- one\n- two\n\n"
        "## Effects\n\nThe sky is blue:\n\n```\n## no heading\n```"
    )


def test_the_first_heading_is_told_as_soon_as_its_line_has_ended() -> None:
    form = InSections(QUESTION)
    assert list(form.feed(TextDelta("## Cau"))) == []
    (outline,) = form.feed(TextDelta("ses\n## Eff"))
    assert isinstance(outline, Outline)


@given(text=texts, sizes=sizes)
def test_sections_depend_on_the_text_and_not_on_its_pieces(text: str, sizes: list[int]) -> None:
    whole, pieces = put_together(told(text)), put_together(told(text, *sizes))
    assert pieces.sections == whole.sections
    assert pieces.text() == whole.text()


@given(text=texts, sizes=sizes)
def test_all_that_is_no_heading_is_in_a_section(text: str, sizes: list[int]) -> None:
    said = put_together(told(text, *sizes)).text()
    # By count, since a section may be gone on with later. Within a block of code nothing is a
    # heading: both texts have such lines, and are compared without.
    assert marks(said) == marks(text)


def is_heading(line: str) -> bool:
    return line.startswith(("## ", "# ")) and bool(line.strip("# ")) and len(line) <= 170


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("No headings at all.", [QUESTION]),
        ("Before.\n## Causes\nBelow.", [QUESTION, "Causes"]),
        ("## Causes\nBelow.\n## New\nAlso.", ["Causes", "New"]),
        ("## Causes\n## Effects\nBelow the last.", ["Causes", "Effects"]),
        ("## **Causes**:\n## causes\nBelow.", ["**Causes**:"]),
        ("## Causes", ["Causes"]),
        ("", []),
        (" \n\n", []),
    ],
)
def test_what_follows_no_form_is_told_all_the_same(text: str, titles: list[str]) -> None:
    sections = put_together(told(text))
    assert [each.title for each in sections.sections] == titles
    for word in ("Before.", "Below.", "Also.", "No headings at all.", "Below the last."):
        assert (word in text) == (word in sections.text())


def test_a_section_that_is_gone_on_with_has_a_gap() -> None:
    text = "## A\n## B\n## A\nOne.\n## B\nTwo.\n## A\nThree.\n"
    assert put_together(told(text)).text() == "## A\n\nOne.\n\nThree.\n\n## B\n\nTwo."


def test_headings_without_end_are_text_beyond_a_number() -> None:
    text = "\n".join(f"## Part {number}" for number in range(100))
    sections = put_together(told(text))
    assert len(sections.sections) == 24
    assert "## Part 99" in sections.text()


def test_citations_count_within_their_section_and_in_the_whole_text() -> None:
    form, events = InSections(QUESTION), []
    for piece in ("## A\n## B\n## A\nOne.", citation(), "\n## B\nTwo", citation(), ".\n"):
        event = piece if isinstance(piece, Citation) else TextDelta(piece)
        events += form.feed(event)
    events += form.end()
    citations = [event for event in events if isinstance(event, Citation)]
    assert [(each.section_id, each.answer_offset) for each in citations] == [("s1", 4), ("s2", 3)]
    sections = put_together(events)
    ends = [sections.text()[: each.answer_offset] for each in sections.placed(citations)]
    assert [end.splitlines()[-1] for end in ends] == ["One.", "Two"]


def test_a_citation_before_any_text_waits_for_it() -> None:
    form = InSections(QUESTION)
    assert list(form.feed(citation())) == []
    events = list(form.feed(TextDelta("Said.")))
    assert [type(event) for event in events] == [Outline, SectionText, Citation]


def test_sentences_of_passages_stand_below_the_headings_they_were_found_under() -> None:
    passages = [passage("Guide > Install"), passage(""), passage("Guide > Install", title="G")]
    form = Excerpts(QUESTION, passages)
    for number, text in enumerate(("First.", " Second.", " Third.")):
        assert list(form.feed(TextDelta(text))) == []
        assert list(form.feed(citation(source=number))) == []
    events = list(form.end())
    sections = put_together(events)
    assert sections.text() == f"## Install\n\nFirst. Third.\n\n## {QUESTION}\n\nSecond."
    placed = [event for event in events if isinstance(event, Citation)]
    assert [(each.section_id, each.answer_offset) for each in placed] == [
        ("s1", 6),
        ("s1", 13),
        ("s2", 7),
    ]


def passage(heading: str, title: str = "") -> Passage:
    return Passage("p", "d", 1, title, heading, "text", 0, 4)


def test_nothing_taken_from_passages_is_no_section() -> None:
    assert list(Excerpts(QUESTION, []).end()) == []


@given(st.text())
def test_a_title_is_one_short_line(text: str) -> None:
    title = title_of(text)
    assert len(title) <= 160
    assert len(title.splitlines()) <= 1
