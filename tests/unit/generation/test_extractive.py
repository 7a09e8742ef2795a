from hypothesis import given
from hypothesis import strategies as st

from libs.values import Citation, FinishReason, Passage, TextDelta
from libs.values.generation import Prompt
from services.generation.engine import Finished, Piece
from services.generation.extractive import MAX_QUOTES, ExtractiveEngine
from services.generation.sentences import MAX_FRAGMENT_CHARS, units

BEFORE = "What stands before the passage in its document. "


def passage(text: str, number: int = 1, title: str = "", heading: str = "") -> Passage:
    start = len(BEFORE)
    name = f"p{number}"
    return Passage(name, f"d{number}", 1, title, heading, text, start, start + len(text))


async def answer(question: str, *passages: Passage, **options: object) -> list[Piece]:
    prompt = Prompt("acme", question, passages=passages, **options)  # type: ignore[arg-type]
    return [piece async for piece in ExtractiveEngine().generate(prompt)]


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))


def finish_of(pieces: list[Piece]) -> FinishReason:
    assert isinstance(pieces[-1], Finished)
    return pieces[-1].finish_reason


WORDS = "the/river/Rhine/is/1,230/km/long./ends/In/1990:/`x./y`/who/when/```\n/\n\n/-/#/|/!/東京。"
words = st.sampled_from(WORDS.split("/"))
texts = st.lists(words, max_size=60).map(" ".join)


@given(texts=st.lists(texts, max_size=4), question=texts)
async def test_every_citation_is_word_for_word_where_it_says(
    texts: list[str], question: str
) -> None:
    passages = [passage(text, number) for number, text in enumerate(texts)]
    pieces = await answer(question, *passages)
    written = text_of(pieces)
    citations = [piece for piece in pieces if isinstance(piece, Citation)]
    assert len(citations) <= MAX_QUOTES
    for citation in citations:
        document = BEFORE + passages[citation.source_index].text
        assert document[citation.start_offset : citation.end_offset] == citation.cited_text
        assert citation.document_id == passages[citation.source_index].document_id
        assert written[: citation.answer_offset].endswith(citation.cited_text)


@given(text=texts, question=texts)
async def test_an_answer_is_at_most_two_sentences_or_a_short_stretch(
    text: str, question: str
) -> None:
    written = text_of(await answer(question, passage(text)))
    whole = {text[unit.start : unit.end] for unit in units(text)}
    cited = [p.cited_text for p in await answer(question, passage(text)) if isinstance(p, Citation)]
    assert set(cited) <= whole
    if not any(mark in written for mark in ".!?。"):
        assert len(written) <= MAX_FRAGMENT_CHARS


async def test_a_question_for_a_date_gets_the_sentence_with_the_date() -> None:
    text = passage(
        "The Rhine bridge was planned for decades. Critics of the Rhine bridge were many. "
        "The Rhine bridge opened in June 1894 to great applause."
    )
    written = text_of(await answer("When did the Rhine bridge open?", text))
    assert "June 1894" in written


async def test_a_question_for_a_person_gets_the_sentence_with_the_name() -> None:
    text = passage(
        "The theorem was proved late. The proof of the theorem was long. "
        "The theorem was proved by Andrew Wiles."
    )
    assert "Andrew Wiles" in text_of(await answer("Who proved the theorem?", text))


async def test_a_question_how_to_do_a_thing_gets_the_command_with_what_announces_it() -> None:
    text = passage(
        "# Starlette\n\nStarlette is a toolkit.\n\n## Installation\n\n"
        "Install Starlette with pip:\n\n"
        "```shell\n$ pip install starlette\n```\n\nStarlette has few dependencies.\n"
    )
    written = text_of(await answer("How do I install Starlette?", text))
    assert written == "Install Starlette with pip:\n\n```shell\n$ pip install starlette\n```"


async def test_a_question_what_a_thing_is_gets_its_definition() -> None:
    passages = (
        passage(
            "The modularity that Starlette is designed on helps. Starlette is BSD licensed.", 1
        ),
        passage("Starlette is a lightweight ASGI framework. It is fast.", 2),
    )
    written = text_of(await answer("What is Starlette?", *passages))
    assert written.startswith("Starlette is a lightweight ASGI framework.")


async def test_neighbouring_sentences_are_read_in_their_own_order() -> None:
    text = passage("Tea was rare in Kent. Tea grew in Kent from 1820. Bees like flowers.")
    written = text_of(await answer("When did tea grow in Kent?", text))
    assert written == "Tea was rare in Kent. Tea grew in Kent from 1820."


async def test_the_same_sentence_is_not_said_twice() -> None:
    texts = (passage("The Rhine is 1,230 km long.", 1), passage("The Rhine is 1,230 km long.", 2))
    written = text_of(await answer("How long is the Rhine?", *texts))
    assert written == "The Rhine is 1,230 km long."


async def test_passages_about_something_else_give_no_answer_and_no_text() -> None:
    pieces = await answer("How do I lock my debit card?", passage("The Rhine is a river."))
    assert (text_of(pieces), finish_of(pieces)) == ("", FinishReason.NO_ANSWER)


async def test_no_passages_give_no_answer() -> None:
    assert finish_of(await answer("How long is the Rhine?")) is FinishReason.NO_ANSWER


async def test_a_title_says_what_its_sentences_are_about() -> None:
    pieces = await answer(
        "What is Starlette?", passage("It is a lightweight toolkit.", title="Starlette")
    )
    assert text_of(pieces) == "It is a lightweight toolkit."


async def test_sentences_are_no_answer_to_a_schema() -> None:
    pieces = await answer(
        "How long is the Rhine?", passage("The Rhine is long."), output_schema='{"type": "object"}'
    )
    assert (text_of(pieces), finish_of(pieces)) == ("", FinishReason.NO_ANSWER)


async def test_a_token_limit_cuts_the_text_and_says_so() -> None:
    pieces = await answer(
        "How long is the Rhine?", passage("The Rhine is 1,230 km long."), max_output_tokens=3
    )
    assert (text_of(pieces), finish_of(pieces)) == ("The Rhine is", FinishReason.MAX_TOKENS)
    cited = [piece.cited_text for piece in pieces if isinstance(piece, Citation)]
    assert cited == ["The Rhine is"]


async def test_a_text_without_sentences_is_quoted_in_part() -> None:
    text = passage("Rhine " + "river " * 200)
    written = text_of(await answer("Where is the Rhine?", text))
    assert 0 < len(written) <= MAX_FRAGMENT_CHARS
    assert written in text.text
