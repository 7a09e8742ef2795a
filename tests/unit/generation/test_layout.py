import hashlib
import json
from dataclasses import replace
from typing import Any

from anthropic.types import CitationsSearchResultLocation
from hypothesis import given
from hypothesis import strategies as st

from libs.values import Passage, Role, Turn
from libs.values.generation import Prompt
from services.generation.layout import Layout, citation_of, laid_out, start_of
from services.generation.marks import Marks

SYSTEM = "Answer from the sources alone."


def passage(name: str, text: str, start: int = 100, **more: str) -> Passage:
    fields = {"title": "Title", "heading": "", **more}
    return Passage(
        name, f"doc-{name}", 1, text=text, start_offset=start, end_offset=start, **fields
    )


A, B, C = (passage(name, f"{name} is first. {name} is second.") for name in "abc")


def prompt(**fields: Any) -> Prompt:
    return Prompt(**{"tenant_id": "acme", "question": "Why?", "system": SYSTEM, **fields})


def sent(layout: Layout) -> bytes:
    """The prompt in the order in which the provider reads it: system, then messages."""
    body = layout.body
    return json.dumps([body.get("system"), *body["messages"]]).encode()


def location(result: int, start: int, end: int) -> CitationsSearchResultLocation:
    return CitationsSearchResultLocation(
        type="search_result_location",
        cited_text="as the provider says",
        source="",
        title=None,
        search_result_index=result,
        start_block_index=start,
        end_block_index=end,
    )


@given(st.permutations([A, B, C]), st.text(min_size=1), st.text(min_size=1))
def test_all_before_the_question_stays_the_same_to_the_byte(
    shuffled: list[Passage], question: str, other: str
) -> None:
    first = sent(laid_out(prompt(passages=(A, B, C), question=question)))
    second = sent(laid_out(prompt(passages=tuple(shuffled), question=other)))
    asked = json.dumps([{"role": "user", "content": question}])[1:].encode()
    prefix = first.removesuffix(asked)
    assert prefix != first
    assert second.startswith(prefix)


def test_another_passage_changes_the_start() -> None:
    assert laid_out(prompt(passages=(A, B))).body != laid_out(prompt(passages=(A, C))).body


def test_a_breakpoint_stands_after_the_system_text_and_after_the_passages() -> None:
    body = laid_out(prompt(passages=(B, A), history=(Turn(Role.USER, "Hello."),))).body
    results = body["messages"][0]["content"]
    assert body["system"] == [
        {"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}
    ]
    assert ["cache_control" in result for result in results] == [False, True]
    assert str(body).count("cache_control") == 2


def test_the_conversation_comes_after_the_passages_and_the_question_last() -> None:
    history = (Turn(Role.USER, "Hello."), Turn(Role.ASSISTANT, "Hello yourself."))
    messages = laid_out(prompt(passages=(A,), history=history)).body["messages"]
    assert messages[1:] == [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello yourself."},
        {"role": "user", "content": "Why?"},
    ]


def test_a_prompt_of_a_question_alone_holds_nothing_else() -> None:
    body = laid_out(prompt(system="")).body
    assert body == {"messages": [{"role": "user", "content": "Why?"}]}


@given(st.text(max_size=300))
def test_the_blocks_of_a_source_are_its_text_and_none_is_blank(text: str) -> None:
    layout = laid_out(prompt(passages=(passage("a", text),)))
    if not text.strip():
        assert layout.sources == ()
        return
    (result,) = layout.body["messages"][0]["content"]
    blocks = [block["text"] for block in result["content"]]
    assert "".join(blocks) == text
    assert all(block.strip() for block in blocks)


@given(st.text(min_size=1, max_size=200), st.data())
def test_a_citation_points_into_the_document(text: str, data: st.DataObject) -> None:
    before = "Before. "
    layout = laid_out(prompt(passages=(A, passage("b", text, start=len(before)))))
    if len(layout.sources) < 2:
        return
    blocks = len(layout.sources[1].cuts) - 1
    start = data.draw(st.integers(0, blocks - 1))
    end = data.draw(st.integers(start + 1, blocks))
    citation = citation_of(layout.sources, location(1, start, end), 7)
    assert citation is not None
    document = before + text
    assert document[citation.start_offset : citation.end_offset] == citation.cited_text
    assert (citation.source_index, citation.document_id) == (1, "doc-b")
    assert citation.answer_offset == 7


def test_a_source_is_counted_as_the_request_counts_it() -> None:
    layout = laid_out(prompt(passages=(C, A, B)))
    found = [citation_of(layout.sources, location(result, 0, 1), 0) for result in range(3)]
    assert [citation.source_index for citation in found if citation] == [1, 2, 0]


def test_a_place_that_does_not_exist_is_no_citation() -> None:
    layout = laid_out(prompt(passages=(A,)))
    for place in (location(1, 0, 1), location(-1, 0, 1), location(0, 1, 3), location(0, 1, 1)):
        assert citation_of(layout.sources, place, 0) is None


def test_an_output_schema_is_enforced_and_citations_are_off() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    body = laid_out(prompt(passages=(A,), output_schema=json.dumps(schema))).body
    enforced = body["output_config"]["format"]
    assert enforced == {"type": "json_schema", "schema": {**schema, "additionalProperties": False}}
    assert body["messages"][0]["content"][0]["citations"] == {"enabled": False}
    assert body["messages"][-1]["content"] == "Why?"


def test_a_schema_beyond_what_the_provider_enforces_is_asked_for_in_words() -> None:
    schema = '{"type": ["object", "null"]}'
    body = laid_out(prompt(output_schema=schema)).body
    assert "output_config" not in body
    assert body["messages"][-1]["content"].endswith(f"satisfies this JSON Schema:\n{schema}")


# Whole documents

DOCUMENTS = tuple(
    replace(passage(name, text), passage_id=name, document_id=name, start_offset=0)
    for name, text in (
        ("b", "The Rhine is long. It is wide."),
        ("a", "The Alps are high. They are old."),
    )
)
FOUND = replace(
    passage("p", "They are old.", start=19), document_id="a", title="Alps", end_offset=32
)
WHOLE = prompt(documents=DOCUMENTS, passages=(FOUND,))
# Of all that stands before the question of WHOLE. Whoever changes it has every provider read
# every collection anew: then, and only then, it changes here.
START_SHA256 = "d02d68e612910c205ee84facfd52140018d0461f51a930e375c3fc609cf44541"


def start(layout: Layout) -> bytes:
    body = layout.body
    return json.dumps([body.get("system"), *body["messages"][:-1]]).encode()


def test_documents_come_whole_and_in_the_order_given() -> None:
    results = laid_out(WHOLE).body["messages"][0]["content"]
    texts = ["".join(block["text"] for block in result["content"]) for result in results]
    assert texts == [each.text for each in DOCUMENTS]
    assert ["cache_control" in result for result in results] == [False, True]


@given(st.permutations([FOUND, A, B, C]), st.integers(0, 4), st.text(min_size=1))
def test_all_before_the_question_is_the_same_whatever_is_asked_and_found(
    found: list[Passage], count: int, question: str
) -> None:
    other = replace(WHOLE, passages=tuple(found[:count]), question=question)
    assert start(laid_out(other)) == start(laid_out(WHOLE))
    assert laid_out(other).body["messages"][-1]["content"].endswith(question)


def test_the_start_of_a_known_prompt_is_as_it_was() -> None:
    assert hashlib.sha256(start(laid_out(WHOLE))).hexdigest() == START_SHA256


def test_a_prompt_is_warmed_with_the_start_that_it_has() -> None:
    warming = start_of(replace(WHOLE, question="", passages=()), Marks())
    question = laid_out(WHOLE).body
    assert warming == {**question, "messages": question["messages"][:-1]}


def test_the_passages_are_pointed_to_beside_the_question() -> None:
    asked = laid_out(WHOLE).body["messages"][-1]["content"]
    assert asked == 'Most likely to help, best first:\n- Alps: "They are old."\n\nWhy?'


def test_a_place_in_a_document_is_counted_as_its_passage_or_behind_them() -> None:
    layout = laid_out(WHOLE)
    inside, outside = (layout.citation_of(location(1, each, each + 1), 3) for each in (1, 0))
    other = layout.citation_of(location(0, 0, 1), 3)
    assert inside is not None
    assert outside is not None
    assert other is not None
    assert (inside.source_index, inside.cited_text) == (0, "They are old.")
    assert (outside.source_index, outside.cited_text) == (2, "The Alps are high.")
    assert (other.source_index, other.document_id) == (1, "b")
    assert DOCUMENTS[1].text[inside.start_offset : inside.end_offset] == inside.cited_text


def test_marks_are_where_they_are_asked_for() -> None:
    told = replace(WHOLE, history=(Turn(Role.USER, "Hello."), Turn(Role.ASSISTANT, "Hello you.")))
    assert "cache_control" not in str(laid_out(told, Marks.none()).body)
    body = laid_out(told, Marks("1h", history=True)).body
    mark = {"type": "ephemeral", "ttl": "1h"}
    assert body["messages"][2]["content"] == [
        {"type": "text", "text": "Hello you.", "cache_control": mark}
    ]
    assert str(body).count("cache_control") == 3
