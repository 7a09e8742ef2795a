from __future__ import annotations

import json
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from cli.cache.archive import Archive, ArchiveWriter, Broken, Kept
from cli.options import SlipError
from libs.values import Quality
from libs.values.cache import ExportedAnswer

RECORDS = (b"one\x00\xff", b"two", b"")


def exported(number: int, record: bytes) -> ExportedAnswer:
    return ExportedAnswer(f"run-{number}", "Wer?", 1.5e9, 1.6e9, Quality.FULL, "m-1", record)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    with ArchiveWriter(path, "acme") as writer:
        for number, record in enumerate(RECORDS):
            writer.add(exported(number, record))
    return path


def told(path: Path) -> list[str]:
    """What each line of a file is: a name, or what is wrong with it."""
    return [
        each.entry_id if isinstance(each, Kept) else f"{each.line}: {each.problem}"
        for each in Archive(path).answers()
    ]


def changed(path: Path, line: int, old: str, new: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new)
    path.write_text("".join(lines))


def test_what_was_written_is_read(path: Path) -> None:
    archive = Archive(path)
    assert archive.tenant_id == "acme"
    answers = list(archive.answers())
    assert [each.record for each in answers if isinstance(each, Kept)] == list(RECORDS)
    assert not [each for each in answers if isinstance(each, Broken)]


def test_a_line_shows_a_person_what_it_holds(path: Path) -> None:
    row = json.loads(path.read_text().splitlines()[1])
    assert row["question"] == "Wer?"
    assert row["created"] == "2017-07-14T02:40:00.000+00:00"
    assert (row["quality"], row["model"]) == ("full", "m-1")


def test_only_its_owner_may_read_a_file(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_is_left_as_it_was_if_writing_fails(path: Path) -> None:
    before = path.read_bytes()
    with suppress(ZeroDivisionError), ArchiveWriter(path, "acme") as writer:
        writer.add(exported(1, b"x"))
        raise ZeroDivisionError
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_was_cut_off_is_noticed(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    assert told(path)[:2] == ["run-0", "run-1"]
    assert told(path)[2] == "3: is not the last line of an export: the file was cut off"
    path.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    assert told(path)[1] == "3: is not a JSON object"


def test_a_line_that_is_missing_is_noticed(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[2]
    path.write_bytes(b"".join(lines))
    assert told(path) == ["run-0", "run-2", "4: count: 3 answers were written, 2 are here"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"sha256": "', '"sha256": "0', "record: is not what was exported: its SHA-256 is another"),
        ('"record": "', '"record": "?', "record: is not base64"),
        ('"record"', '"cord"', "record: must be text, is missing or something else"),
        ('"entry_id": "run-1"', '"entry_id": 1', "entry_id: must be text, is missing or"),
        ("{", "[{", "is not a JSON object"),
    ],
)
def test_a_damaged_line_is_named_and_the_others_are_read(
    path: Path, old: str, new: str, problem: str
) -> None:
    changed(path, 3, old, new)
    first, second, third = told(path)
    assert (first, third) == ("run-0", "run-2")
    assert second.startswith(f"3: {problem}")


def test_another_file_is_refused(path: Path, tmp_path: Path) -> None:
    changed(path, 1, '"version": 1', '"version": 2')
    with pytest.raises(SlipError, match=":1: version: must be 1, is 2"):
        Archive(path)
    for content in (b"", b"\n", b"Who?\n", b'{"question": "Who?"}\n', b"\xff\n"):
        other = tmp_path / "other"
        other.write_bytes(content)
        with pytest.raises(SlipError, match=":1: is no file that `hasten cache export` wrote"):
            Archive(other)
