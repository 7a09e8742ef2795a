from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.reading import MAX_BYTES, MAX_CHARACTERS, Unreadable, format_of, read_file
from libs.values.retrieval import Document, TextFormat
from tests.support.pdf import locked, pdf, swollen

PAGE = """<!DOCTYPE html><html><head><title> A  page </title><style>p {}</style></head><body>
<header>Site name</header><nav><a href="/">Home</a></nav>
<main><h1>Ferries</h1><p>They <b>leave</b> at&nbsp;six.<br>Daily.</p>
<h2>Prices</h2><ul><li><p>Adults: 4</p></li><li>Children: 2<ol><li>under six</li><li>under ten
</li></ol></li></ul><table><tr><th>Day</th><th>Hour</th></tr><tr><td>Monday</td><td>6</td></tr>
</table><pre><code>a = 1
  b = 2</code></pre><script>alert("x")</script><p hidden>secret</p></main>
<aside>Advertisement</aside><footer>Imprint</footer></body></html>"""
READ = """# Ferries

They leave at six. Daily.

## Prices

- Adults: 4

- Children: 2

  1. under six

  2. under ten

Day | Hour

Monday | 6

```
a = 1
  b = 2
```"""


def read(name: str, data: bytes, media_type: str = "") -> Document | str:
    """The one document of a file, or the reason why there is none."""
    (_, found), *more = read_file(name, data, media_type)
    assert not more
    return found.reason if isinstance(found, Unreadable) else found


def document(name: str, data: bytes, media_type: str = "") -> Document:
    found = read(name, data, media_type)
    assert isinstance(found, Document), found
    return found


def test_a_page_is_read_as_markdown_without_what_surrounds_it() -> None:
    found = document("ferries.html", PAGE.encode())
    assert found == Document(
        "ferries.html", READ, TextFormat.MARKDOWN, "A page", uri="ferries.html"
    )


def test_a_page_without_a_marked_part_is_read_whole_but_for_its_furniture() -> None:
    page = b"<nav>Menu</nav><div>One<div>Two</div>Three</div><footer>Imprint</footer>"
    assert document("a.htm", page).text == "One\n\nTwo\n\nThree"


def test_a_marked_part_that_holds_next_to_nothing_is_not_taken_for_the_page() -> None:
    page = "<article>Ad</article>" + "<p>What the page is about.</p>" * 5
    assert document("a.html", page.encode()).text.count("What the page") == 5


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        ("<meta charset=windows-1252><p>Zürich".encode("cp1252"), ""),
        ("<p>Zürich".encode("latin-1"), "text/html; charset=ISO-8859-1"),
        ("<p>Zürich".encode("utf-16"), ""),
        ("\ufeff<p>Zürich".encode(), "text/html; charset=no-such-thing"),
    ],
)
def test_a_page_is_read_in_the_charset_that_it_says(data: bytes, media_type: str) -> None:
    assert document("a.html", data, media_type).text == "Zürich"


def test_a_page_in_another_charset_than_it_says_is_not_read_as_garbage() -> None:
    assert read("a.html", "<p>Zürich".encode("latin-1")) == "is not UTF-8 at byte 4"


def test_a_page_that_nests_deeply_is_read_and_one_that_nests_without_end_is_not() -> None:
    assert document("a.html", b"<div><article>" * 500 + b"deep").text == "deep"
    assert read("a.html", b"<div><article>" * 501) == "is HTML that nests more than 1000 elements"
    assert document("a.html", b"<p><li>x<br>" * 2_000).text.startswith("- x")


def test_a_page_whose_open_elements_come_again_in_each_paragraph_is_not_read() -> None:
    page = "".join(f"<b class={number}>" for number in range(900)) + "<p>x" * 40_000
    assert read("a.html", page.encode()) == "is HTML that leaves too many elements open"


@pytest.mark.parametrize(
    "page",
    [
        "<p " + " ".join(f"a{number}" for number in range(20_000)) + ">x",
        "<p " + "".join(f"a{number}='>'" for number in range(20_000)) + ">x",
        "".join(f"<body a{number}>" for number in range(30_000)) + "x",
        "<a/x=" * 100_000,
    ],
    ids=["bare", "with values", "of the body", "without end"],
)
def test_a_page_with_attributes_without_end_is_not_read(page: str) -> None:
    assert read("a.html", page.encode()) == "is HTML with too many attributes"


def test_a_page_with_many_attributes_and_long_ones_is_read() -> None:
    image = f"<p title='a > b' hidden=0><img src='data:{'A b' * 100_000}'>"
    page = image + "<p " + " ".join(f"data-{number}=1" for number in range(1_000)) + ">Words."
    assert document("a.html", page.encode()).text == "Words."


@pytest.mark.parametrize(
    ("markdown", "title"),
    [
        ("# C# and F# ##  \n", "C# and F"),
        ("#   Far in\r\n", "Far in"),
        ("#  \n# Next", "Next"),
        # Looked at once: by each blank anew it would take an hour.
        ("# A" + " " * 1_000_000 + "b", "A"),
    ],
    ids=["marks", "blanks", "none", "a million blanks"],
)
def test_the_title_of_markdown_is_its_first_heading(markdown: str, title: str) -> None:
    assert document("a.md", markdown.encode()).title == title


@pytest.mark.parametrize("in_form", [False, True], ids=["page", "form"])
def test_a_pdf_that_unpacks_to_more_than_a_page_may_have_is_not_read(*, in_form: bool) -> None:
    small, large = (swollen(b"q Q " * 2**power, in_form=in_form) for power in (10, 21))
    assert len(large) < 32_000
    reason = "is a PDF with a page of more than 4194304 bytes of drawing"
    assert (read("a.pdf", small) != reason, read("a.pdf", large)) == (True, reason)


def test_a_pdf_is_read_page_by_page() -> None:
    found = document("a.pdf", pdf(["First page\nof two", "Second (page)"], "A title"))
    assert found.title == "A title"
    assert found.text == "First page\nof two\n\nSecond (page)"
    assert found.format is TextFormat.PLAIN


def test_a_pdf_is_known_by_how_it_begins_and_named_by_its_file_without_a_title() -> None:
    found = document("upload", pdf(["Words"]))
    assert (found.text, found.title) == ("Words", "upload")


def test_a_pdf_that_asks_for_no_password_is_read() -> None:
    assert document("a.pdf", locked(pdf(["Words"]), "")).text == "Words"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"plain words", "is not a PDF"),
        (b"", "is empty"),
        (b"%PDF-1.4\nnothing of the kind", "is a damaged PDF"),
        (pdf(["Words"])[:-200], "is a damaged PDF"),
        (pdf([""]), "is a PDF without text, as scans are"),
        (locked(pdf(["Words"]), "secret"), "is a PDF that only a password opens"),
    ],
)
def test_a_pdf_that_cannot_be_read_is_named_with_its_reason(data: bytes, reason: str) -> None:
    found = read("a.pdf", data)
    assert (found.text if isinstance(found, Document) else found) == reason


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.html", b"<script>x</script>", "is HTML without text"),
        ("a.html", b"ab\0cd", "is binary"),
        ("a.html", b"<meta charset=latin-1>ab\0cd", "is binary"),
        ("a.html", b"x" * (10 * 1024 * 1024 + 1), "has 10485761 bytes, more than 10485760 of HTML"),
        ("a.txt", b"ab\0cd", "is binary"),
        ("a.md", b" \n", "is empty"),
        ("a.md", b"\xef\xbb\xbf \n", "is empty"),
        (
            "a.txt",
            b"x" * (4 * MAX_CHARACTERS + 1),
            "has 8000001 bytes, more than 2000000 characters",
        ),
        ("a.pdf", bytes(MAX_BYTES + 1), f"has {MAX_BYTES + 1} bytes, more than {MAX_BYTES}"),
        ("a.jsonl", bytes(MAX_BYTES + 1), f"has {MAX_BYTES + 1} bytes, more than {MAX_BYTES}"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_reason(name: str, data: bytes, reason: str) -> None:
    assert read(name, data) == reason


@pytest.mark.parametrize("name", ["a.pdf", "a.html"])
def test_reading_is_left_at_that_when_it_is_over(name: str) -> None:
    data = pdf(["Words"]) if name == "a.pdf" else b"<p>Words"
    ((_, found),) = read_file(name, data, is_over=lambda: True)
    assert found == Unreadable(name, "takes too long to read")


@pytest.mark.parametrize(
    ("name", "media_type", "expected"),
    [
        ("a.MD", "", "markdown"),
        ("a", "", "plain"),
        ("a.md", "text/html; charset=utf-8", "html"),
        ("a.md", "application/octet-stream", "markdown"),
        ("a.ndjson", "", "rows"),
    ],
)
def test_a_format_is_known_by_the_media_type_or_else_the_name(
    name: str, media_type: str, expected: str
) -> None:
    assert format_of(name, media_type) == expected


@given(st.binary(max_size=300), st.sampled_from(["a.md", "a.html", "a.jsonl", "a.pdf", "a"]))
def test_no_bytes_make_reading_raise(data: bytes, name: str) -> None:
    for start in (b"", b"%PDF-1.7\n"):
        for _, found in read_file(name, start + data):
            assert isinstance(found, Unreadable) or found.text.strip()


@given(st.integers(0, 700), st.integers(0, 255))
def test_no_damage_to_a_pdf_makes_reading_raise(at: int, value: int) -> None:
    data = bytearray(pdf(["First page", "Second page"], "T"))
    data[at % len(data)] = value
    assert len(list(read_file("a.pdf", bytes(data)))) == 1


@given(st.text(max_size=200))
def test_no_page_makes_reading_raise(text: str) -> None:
    for _, found in read_file("a.html", ("<p>" + text).encode(errors="ignore")):
        assert isinstance(found, Unreadable) or found.text.strip()
