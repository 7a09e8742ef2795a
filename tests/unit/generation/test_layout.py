import json
from typing import Any

from anthropic.types import CitationsSearchResultLocation
from hypothesis import given
from hypothesis import strategies as st

from libs.values import Passage, Role, Turn
from libs.values.generation import Prompt
from services.generation.layout import Layout, citation_of, laid_out

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
