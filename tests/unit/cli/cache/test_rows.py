from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.cache import replay, warm
from cli.cache.rows import Row, read_rows
from cli.options import SlipError
from libs.values import Filter, Quality


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_file_of_text_has_a_question_on_each_line_that_is_not_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "q.txt", "\ufeffWho?\n\n  What? \r\n{What}?\n")
    assert read_rows(path, {}) == [Row(1, "Who?", {}), Row(3, "What?", {}), Row(4, "{What}?", {})]


def test_a_row_of_a_file_of_objects_may_say_how_it_is_to_be_asked(tmp_path: Path) -> None:
    path = write(
        tmp_path / "q.jsonl",
        '{"question": "Who?", "collection": "c", "scope": "s", "policy": "patient", '
        '"filters": {"lang": "en", "kind": ["a", "b"]}, "minimum_quality": "fast", '
        '"output_schema": {"type": "object"}}\n{"question": "What?"}\n',
    )
    first, second = read_rows(path, warm.FIELDS)
    assert first.fields == {
        "collection": "c",
        "scope": "s",
        "policy": "patient",
        "filters": (Filter("lang", ("en",)), Filter("kind", ("a", "b"))),
        "minimum_quality": Quality.FAST,
        "output_schema": '{"type": "object"}',
    }
    assert second == Row(2, "What?", {})


def test_a_group_may_be_a_number(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", '{"question": "Who?", "group": 7}')
    assert read_rows(path, replay.FIELDS)[0].fields == {"group": "7"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"question": ', "is not JSON: Expecting value at column 13"),
        ("[" * 100_000, "is not JSON: nested too deeply"),
        ("Who?", "is not JSON: Expecting value at column 1"),
        ('["Who?"]', "is not an object, is a list"),
        ("{}", "question: is missing"),
        ('{"question": null}', "question: must be text, is null"),
        ('{"question": " "}', "question: is empty"),
        ('{"question": "' + "x" * 8_001 + '"}', "question: must have 1 to 8000 characters, has"),
        ('{"question": "Q", "colection": "c"}', "colection: is not known; there are question, c"),
        ('{"question": "Q", "collection": 1}', "collection: must be text, is a number"),
        ('{"question": "Q", "filters": ["a"]}', "filters: must be an object, is a list"),
        ('{"question": "Q", "filters": {"a": 1}}', "filters: a must be text, or a list of texts"),
        ('{"question": "Q", "filters": {"a": []}}', "filters: a must be text, or a list of texts"),
        ('{"question": "Q", "minimum_quality": "best"}', "minimum_quality: must be one of"),
        ('{"question": "Q", "output_schema": 1}', "output_schema: must be an object or text"),
        (b'{"question": "\xff"}', "is not UTF-8 at byte 14"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_its_field(
    tmp_path: Path, line: str | bytes, said: str
) -> None:
    data = line.encode() if isinstance(line, str) else line
    path = write(tmp_path / "q.jsonl", b'{"question": "Fine?"}\n\n' + data + b"\n")
    with pytest.raises(SlipError) as slip:
        read_rows(path, warm.FIELDS)
    assert str(slip.value).startswith(f"{path}:3: {said}")


@pytest.mark.parametrize("group", ["[1]", "true", "1.5", "null"])
def test_a_group_that_is_no_name_is_refused(tmp_path: Path, group: str) -> None:
    path = write(tmp_path / "t.jsonl", f'{{"question": "Who?", "group": {group}}}')
    with pytest.raises(SlipError, match=":1: group: must be text or a whole number"):
        read_rows(path, replay.FIELDS)


def test_a_file_without_a_question_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SlipError, match="holds no question"):
        read_rows(write(tmp_path / "q.txt", " \n\n"), {})


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_fail_in_another_way(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = write(tmp_path_factory.mktemp("any") / "q.jsonl", data)
    try:
        rows = read_rows(path, warm.FIELDS)
    except SlipError:
        return
    assert all(row.question.strip() for row in rows)
