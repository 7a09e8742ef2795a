from hypothesis import given
from hypothesis import strategies as st

from libs.values.retrieval import Document, TextFormat
from services.retrieval.chunking import STRETCH, Chunk, Chunker
from services.retrieval.ingestion import embedded_text

TARGET = 200
formats = st.sampled_from([TextFormat.PLAIN, TextFormat.MARKDOWN])
pieces = st.sampled_from(
    [
        "word ",
        "A sentence. ",
        "Ganz schön! ",
        "日本語の文。",
        "🙂",
        "e\u0301",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        " \t",
        "# Title\n",
        "## Part\n",
        "Under\n=====\n",
        "- item\n",
        "> quote\n",
        "```\ncode = 1\n```\n",
        "    indented\n",
        "| a | b |\n|---|---|\n| 1 | 2 |\n",
        "---\n",
        "<b>html</b>\n",
        "\0",
        "\u2028",
        "\x0b",
        "[x]: http://y\n",
        "x" * 250,
    ]
)
texts = st.one_of(st.text(max_size=300), st.lists(pieces, max_size=60).map("".join))


@given(text=texts, kind=formats, unsplit=st.booleans())
def test_a_passage_is_the_text_between_its_offsets_and_none_overlap(
    text: str,
    kind: TextFormat,
    unsplit: bool,  # noqa: FBT001 - generated
) -> None:
    chunks = Chunker(TARGET).split(Document("d", text, kind, unsplit=unsplit))
    end = 0
    for chunk in chunks:
        assert end <= chunk.start < chunk.end <= len(text)
        body = text[chunk.start : chunk.end]
        assert body == body.strip() != ""
        assert unsplit or len(body) <= TARGET * STRETCH
        end = chunk.end


@given(text=texts)
def test_no_word_of_a_plain_text_is_lost(text: str) -> None:
    chunks = Chunker(TARGET).split(Document("d", text))
    left, end = "", 0
    for chunk in chunks:
        left += text[end : chunk.start]
        end = chunk.end
    assert not (left + text[end:]).strip()


def split(text: str, kind: TextFormat = TextFormat.MARKDOWN) -> list[tuple[str, str]]:
    chunks = Chunker(TARGET).split(Document("d", text, kind))
    return [(chunk.heading, text[chunk.start : chunk.end]) for chunk in chunks]


def test_headings_are_a_path_and_no_part_of_a_passage() -> None:
    text = "# Guide\n\nHello.\n\n## Set *up*\n\nRun `make`.\n\n# Other\n\nBye.\n"
    assert split(text) == [
        ("Guide", "Hello."),
        ("Guide > Set up", "Run `make`."),
        ("Other", "Bye."),
    ]


def test_a_heading_with_nothing_under_it_is_a_passage_of_its_own() -> None:
    assert split("# Guide\n\n## Is it free?\n\n## Yes\n\nIt is.\n\n# End\n") == [
        ("Guide", "## Is it free?"),
        ("Guide > Yes", "It is."),
        ("", "# End"),
    ]


def test_a_heading_inside_code_or_a_list_is_no_heading() -> None:
    text = "# A\n\n```\n# not one\n```\n\n- # nor this\n"
    assert [heading for heading, _ in split(text)] == ["A"]


def test_code_that_fits_is_kept_whole_and_longer_code_is_cut_between_lines() -> None:
    short = "```\n" + "x = 1\n\n" * 20 + "```"
    assert ("A", short) in split(f"# A\n\n{'Words. ' * 20}\n\n{short}\n\n{'More. ' * 20}\n")
    lines = split("```\n" + "\n".join(f"line_{n} = {n}" for n in range(100)) + "\n```\n")
    assert all(body.splitlines()[-1][:5] in ("line_", "```") for _, body in lines)


def test_prose_is_cut_after_sentences() -> None:
    text = "This is a sentence of some length. " * 30
    assert all(body.endswith(".") for _, body in split(text, TextFormat.PLAIN))


def test_a_short_end_joins_the_passage_before_it() -> None:
    text = f"{'a' * 190}.\n\nShort end."
    assert len(split(text, TextFormat.PLAIN)) == 1


def test_front_matter_is_no_heading() -> None:
    text = "---\ntitle: x\n---\n\n# Real\n\nBody.\n"
    assert split(text) == [("", "---\ntitle: x\n---"), ("Real", "Body.")]


def test_a_blank_document_has_no_passages() -> None:
    for unsplit in (False, True):
        assert Chunker(TARGET).split(Document("d", " \n\t ", unsplit=unsplit)) == []


def test_an_unsplit_document_is_one_passage() -> None:
    text = "\n" + "Long. " * 500
    assert Chunker(TARGET).split(Document("d", text, unsplit=True)) == [Chunk(1, len(text) - 1)]


def test_what_is_embedded_names_title_and_headings_once() -> None:
    text = "Run make."
    chunk = Chunk(0, 9, "Guide > Setup")
    assert embedded_text(Document("d", text, title="Guide"), chunk) == "Guide > Setup\nRun make."
    assert embedded_text(Document("d", text, title="Old"), chunk).startswith("Old\nGuide > Setup\n")
    assert embedded_text(Document("d", text), Chunk(0, 9)) == text
