from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.figures import FIGURES
from tests.bench.profiling import tidy
from tests.bench.report import BEGIN, END, markdown, note, rows, shown, write
from tests.bench.timing import OtherWayError, Turns, in_turns

TAKEN = {"exact_ms": 3.25, "exact_over_echo": 5.6, "service_fp32_over_library": None}


def test_every_figure_has_a_name_of_its_own() -> None:
    names = [figure.name for figure in FIGURES]
    assert len(set(names)) == len(names)


def test_ratios_come_first_and_each_has_its_limit() -> None:
    assert markdown(TAKEN, "One run.").splitlines() == [
        "One run.",
        "",
        "| what | measured | at most | name |",
        "|---|---|---|---|",
        "| exact hit, over the echo | 5.60 times | 5 | `exact_over_echo` |",
        "| the same in fp32 | not installed |  | `service_fp32_over_library` |",
        "| exact hit | 3.25 ms |  | `exact_ms` |",
    ]


def test_a_figure_that_nothing_describes_is_an_error() -> None:
    with pytest.raises(KeyError, match="unheard_of"):
        rows({"unheard_of": 1.0})


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.56, "1,235 ms"), (99.94, "99.9 ms"), (0.126, "0.13 ms"), (-12.34, "-12.3 ms")],
)
def test_a_figure_has_about_three_digits(value: float, text: str) -> None:
    assert shown(value, "ms") == text


def test_only_what_is_between_the_markers_is_written_anew(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for text in ("new", "newer"):
        write(page, text)
        assert page.read_text() == f"before\n{BEGIN}\n\n{text}\n\n{END}\nafter\n"


@pytest.mark.parametrize(
    "text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"]
)
def test_a_page_without_its_markers_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=r"page\.md"):
        write(page, "new")
    assert page.read_text() == text


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--write", str(tmp_path / "page.md")])
    assert "page.md: there is no such page" in capsys.readouterr().err


@pytest.mark.parametrize(("load", "word"), [(0.01, "quiet"), (400.0, "busy")])
def test_the_note_says_whether_the_machine_was_busy(load: float, word: str) -> None:
    said = note("python -m tests.bench", load, date(2026, 3, 9))
    assert "9 March 2026: `python -m tests.bench`" in said
    assert word in said


async def test_calls_that_went_another_way_are_no_times() -> None:
    calls = iter(range(1000))

    async def mostly() -> float:
        if next(calls) % 10 == 0:
            raise OtherWayError("not this one")
        return 0.002

    found = await in_turns({"mostly": mostly}, Turns(warm_up=0, rounds=2, per_round=10))
    assert found == {"mostly": [2.0] * 18}


async def test_a_way_that_is_hardly_ever_taken_has_no_figure() -> None:
    async def never() -> float:
        raise OtherWayError("not this one")

    with pytest.raises(OtherWayError, match="never: only 0"):
        await in_turns({"never": never}, Turns(warm_up=0, rounds=1, per_round=5))


def test_a_flame_graph_says_what_it_shows_and_not_where_it_was_made() -> None:
    picture = b'<text id="title" x="1">/home/me/py-spy record</text><text>run\x00</text>'
    assert tidy(picture, "exact") == '<text id="title" x="1">exact</text><text>run</text>'
