import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.documents import read_documents
from libs.reading import MAX_CHARACTERS, Unreadable
from libs.values.retrieval import Document, TextFormat
from tests.support.pdf import pdf


def read(*paths: Path) -> tuple[dict[str, Document], dict[str, str]]:
    """Documents by id, and reasons by the path's end."""
    documents, reasons = {}, {}
    for each in read_documents(paths):
        if isinstance(each, Unreadable):
            reasons[Path(each.path).name] = each.reason
        else:
            assert each.document_id not in documents
            documents[each.document_id] = each
    return documents, reasons


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_folder_is_walked_and_ids_are_paths_below_it(tmp_path: Path) -> None:
    write(tmp_path / "a.md", "# Title A\n\nText.")
    write(tmp_path / "sub/b.TXT", "Plain.")
    write(tmp_path / "sub/deep/c.rst", "Rest.")
    write(tmp_path / "d.markdown", "No heading.")
    write(tmp_path / "code.py", "print()")
    write(tmp_path / ".git/e.md", "hidden")
    write(tmp_path / ".hidden.md", "hidden")
    documents, reasons = read(tmp_path)
    assert reasons == {}
    assert {name: (d.format, d.title) for name, d in documents.items()} == {
        "a.md": (TextFormat.MARKDOWN, "Title A"),
        "d.markdown": (TextFormat.MARKDOWN, "d"),
        "sub/b.TXT": (TextFormat.PLAIN, "b"),
        "sub/deep/c.rst": (TextFormat.PLAIN, "c"),
    }
    assert documents["sub/b.TXT"].text == "Plain."
    assert documents["sub/b.TXT"].uri == "sub/b.TXT"


def test_pages_and_pdfs_in_a_folder_are_read(tmp_path: Path) -> None:
    write(tmp_path / "page.html", "<title>T</title><h1>Head</h1><p>Words.")
    write(tmp_path / "paper.PDF", pdf(["On paper."]))
    write(tmp_path / "broken.pdf", "%PDF-1.4 and nothing else")
    documents, reasons = read(tmp_path)
    assert {name: each.text for name, each in documents.items()} == {
        "page.html": "# Head\n\nWords.",
        "paper.PDF": "On paper.",
    }
    assert reasons == {"broken.pdf": "is a damaged PDF"}


def test_a_pattern_names_files_from_where_its_marks_begin(tmp_path: Path) -> None:
    write(tmp_path / "docs/a.md", "One.")
    write(tmp_path / "docs/deep/b.md", "Two.")
    write(tmp_path / "docs/c.txt", "Three.")
    write(tmp_path / "[d].md", "Four.")
    assert set(read(tmp_path / "docs/*.md")[0]) == {"a.md"}
    assert set(read(tmp_path / "docs/**/*.md")[0]) == {"a.md", "deep/b.md"}
    assert set(read(tmp_path / "d*/[a-c].*")[0]) == {"docs/a.md", "docs/c.txt"}
    assert set(read(tmp_path / "[d].md")[0]) == {"[d].md"}
    assert read(tmp_path / "*.rst")[1] == {"*.rst": "matches no file"}


def test_a_file_that_is_named_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    documents, _ = read(write(tmp_path / "NOTICE", "Words."))
    assert documents["NOTICE"].text == "Words."


def test_a_heading_inside_code_is_no_title(tmp_path: Path) -> None:
    documents, _ = read(write(tmp_path / "a.md", "```\n# comment\n```\n"))
    assert documents["a.md"].title == "a"


def test_what_cannot_be_read_is_reported_with_a_reason_and_the_rest_is_read(
    tmp_path: Path,
) -> None:
    write(tmp_path / "good.txt", "Fine.")
    write(tmp_path / "binary.txt", b"ab\0cd")
    write(tmp_path / "latin.txt", "é".encode("latin-1"))
    write(tmp_path / "empty.md", "")
    write(tmp_path / "blank.md", " \n\t\n")
    write(tmp_path / "long.txt", "x" * (MAX_CHARACTERS + 1))
    write(tmp_path / "huge.txt", "x" * (4 * MAX_CHARACTERS + 1))
    write(tmp_path / "empty.jsonl", "")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    documents, reasons = read(tmp_path, tmp_path / "missing.md")
    assert set(documents) == {"good.txt"}
    assert reasons == {
        "binary.txt": "is binary",
        "latin.txt": "is not UTF-8 at byte 0",
        "empty.md": "is empty",
        "blank.md": "is empty",
        "long.txt": "has 2000001 characters, more than 2000000 characters",
        "huge.txt": "has 8000001 bytes, more than 2000000 characters",
        "empty.jsonl": "is empty",
        "gone.txt": "cannot be read: No such file or directory",
        "missing.md": "cannot be read: No such file or directory",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "x").chmod(0)
    assert read(tmp_path)[1] == {"a.txt": "cannot be read: Permission denied"}


def test_rows_of_json_lines_are_documents(tmp_path: Path) -> None:
    lines = [
        (
            '{"id": "one", "text": "First.", "title": "T", "uri": "u", "scope": "s", '
            '"metadata": {"lang": "en", "year": 2020, "ok": true}, "format": "markdown", '
            '"unsplit": true}'
        ),
        "",
        '{"id": 7, "text": "Second.", "title": null, "metadata": null}',
        '\ufeff{"text": "Third."}',
    ]
    documents, reasons = read(write(tmp_path / "rows.jsonl", "\n".join(lines)))
    assert reasons == {}
    assert documents["one"] == Document(
        "one",
        "First.",
        TextFormat.MARKDOWN,
        "T",
        {"lang": "en", "year": "2020", "ok": "true"},
        "u",
        "s",
        unsplit=True,
    )
    assert documents["7"] == Document("7", "Second.")
    assert documents["rows.jsonl:4"].text == "Third."


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": ', "is not JSON: Expecting value at column 9"),
        ("[" * 100_000, "is not JSON: nested too deeply"),
        ('["text"]', "is not an object"),
        ('{"id": "a"}', "has no text"),
        ('{"text": " "}', "has no text"),
        ('{"text": 5}', "has a text that is not a string"),
        ('{"text": "x", "id": true}', "has a id that is not a string"),
        ('{"text": "x", "title": ["t"]}', "has a title that is not a string"),
        ('{"text": "x", "metadata": "k"}', "has metadata that is not an object"),
        ('{"text": "x", "metadata": {"k": {}}}', "has a metadata that is not a string"),
        ('{"text": "x", "format": "html"}', "has a format that is neither plain nor markdown"),
        ('{"text": "\\ud800"}', "has half a character in its text"),
        (b'{"text": "\xff"}', "is not UTF-8 at byte 10"),
    ],
)
def test_a_broken_row_is_reported_with_its_line_and_the_others_are_read(
    tmp_path: Path, line: str | bytes, reason: str
) -> None:
    data = line.encode() if isinstance(line, str) else line
    path = write(tmp_path / "rows.jsonl", b'{"id": "good", "text": "x"}\n' + data + b"\n")
    documents, reasons = read(path)
    assert set(documents) == {"good"}
    assert reasons == {"rows.jsonl:2": reason}


def test_a_second_document_of_the_same_id_is_reported_not_stored_over_the_first(
    tmp_path: Path,
) -> None:
    first, second = write(tmp_path / "a/README.md", "one"), write(tmp_path / "b/README.md", "two")
    documents, reasons = read(tmp_path / "a", tmp_path / "b")
    assert documents["README.md"].text == "one"
    assert str(first) in reasons["README.md"]
    assert reasons.keys() == {second.name}
    assert len(list(read_documents([first, first]))) == 2


def test_a_name_that_is_not_utf_8_is_reported(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")
    assert read(tmp_path)[1] == {"\ufffd.txt": "has a name that is not UTF-8"}


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name in ("a.md", "b.jsonl"):
        write(folder / name, data)
    for each in read_documents([folder]):
        assert isinstance(each, Unreadable) or each.text.strip()
