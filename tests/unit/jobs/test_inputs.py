"""What the kinds take, and what they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from libs.values import CacheControl, Filter, Quality, Question, Render, Role, Turn
from services.jobs.kinds import KINDS, Task
from services.jobs.kinds.answer import AnswerInput
from services.jobs.kinds.kind import MOST_KEY_CHARACTERS, Ledger, short_key
from services.jobs.kinds.schema import BadOutputError, Form, checked_schema, parsed
from services.orchestrator.deferring import JOBS_POLICY, input_of

SCHEMA = {"type": "object"}


def read(kind: str, given: dict[str, Any]) -> Any:
    return KINDS[kind].input.model_validate_json(json.dumps(given))


def test_every_kind_is_there_by_its_name() -> None:
    assert set(KINDS) == {
        "ingest",
        "analyze",
        "classify",
        "extract",
        "summarize",
        "report",
        "answer",
    }
    assert all(kind.name == name for name, kind in KINDS.items())


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("ingest", {"files": [{"name": "a", "content": ""}]}),
        ("analyze", {"question": "Why?", "filters": [{"key": "k", "any_of": ["v"]}]}),
        ("classify", {"rows": ["x", {"text": "y", "id": "b"}], "labels": ["a", {"name": "b"}]}),
        ("extract", {"rows": ["x"], "output_schema": SCHEMA}),
        (
            "extract",
            {"collection": "c", "output_schema": {"$ref": "#/$defs/a", "$defs": {"a": {}}}},
        ),
        ("summarize", {}),
        ("summarize", {"text": "x"}),
        ("report", {"topic": "T", "outline": ["A"]}),
        ("answer", {"question": "Why?"}),
    ],
)
def test_what_is_right_is_taken(kind: str, given: dict[str, Any]) -> None:
    assert read(kind, given)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("ingest", {"files": []}),
        ("ingest", {"files": [{"name": "a"}]}),
        ("ingest", {"files": [{"name": "a", "content": "", "content_base64": ""}]}),
        ("ingest", {"files": [{"name": "", "content": ""}]}),
        ("ingest", {"files": [{"name": "a", "content": ""}], "collection": "a b"}),
        ("analyze", {}),
        ("analyze", {"question": " "}),
        ("analyze", {"question": "x" * 6_001}),
        ("analyze", {"question": "x", "most_documents": "5"}),
        ("analyze", {"question": "x", "document_ids": ["a"], "query": "b"}),
        ("analyze", {"question": "x", "colour": "red"}),
        ("classify", {"rows": ["x"], "labels": ["a"]}),
        ("classify", {"rows": ["x"], "labels": ["a", "a"]}),
        ("classify", {"rows": [{"text": "x", "id": "1"}, "y"], "labels": ["a", "b"]}),
        ("classify", {"rows": ["x"] * 10_001, "labels": ["a", "b"]}),
        ("classify", {"rows": ["x"], "labels": ["a", {"name": "b", "description": "d" * 1_001}]}),
        ("extract", {"rows": ["x"]}),
        ("extract", {"rows": ["x"], "output_schema": {"type": "thing"}}),
        ("extract", {"rows": ["x"], "output_schema": {"$ref": "http://127.0.0.1/schema"}}),
        ("extract", {"rows": ["x"], "output_schema": {"description": "d" * 17_000}}),
        ("extract", {"rows": ["x"], "query": "y", "output_schema": SCHEMA}),
        ("summarize", {"text": "x", "collection": "c"}),
        ("summarize", {"length": "endless"}),
        ("report", {"topic": "T", "section_count": 0}),
        ("answer", {"question": "Why?", "output_schema": {"type": "thing"}}),
        ("answer", {"question": "Why?", "history": [{"role": "system", "text": "x"}]}),
    ],
)
def test_what_is_wrong_is_refused(kind: str, given: dict[str, Any]) -> None:
    # The second row has its place, 1, for an id, as the first one has.
    with pytest.raises(ValidationError):
        read(kind, given)


def test_a_question_that_becomes_a_job_is_asked_as_it_was() -> None:
    asked = Question(
        "acme",
        "Why?",
        (Turn(Role.USER, "Hello."), Turn(Role.ASSISTANT, "Hello.")),
        "c",
        (Filter("k", ("v", "")),),
        JOBS_POLICY,
        minimum_quality=Quality.BRIEF,
        cache_control=CacheControl.NO_STORE,
        render=Render.OUTLINE,
        output_schema='{"type": "object"}',
        scope="hr",
    )
    for question in (asked, Question("acme", "Why?", policy=JOBS_POLICY, scope="hr")):
        given = AnswerInput.model_validate_json(json.dumps(input_of(question)))
        assert given.question_of(Task("acme", "j", 1, "hr")) == question


def test_an_answer_asks_all_that_was_given() -> None:
    given = AnswerInput.model_validate_json(
        json.dumps(
            {
                "question": "Why?",
                "history": [{"role": "assistant", "text": "Hello."}],
                "collection": "c",
                "filters": [{"key": "k", "any_of": ["v"]}],
                "policy": "slow",
                "minimum_quality": "fast",
                "cache_control": "no-store",
                "output_schema": SCHEMA,
            }
        )
    )
    assert given.question_of(Task("acme", "j", 1, "hr")) == Question(
        "acme",
        "Why?",
        (Turn(Role.ASSISTANT, "Hello."),),
        "c",
        (Filter("k", ("v",)),),
        "slow",
        minimum_quality=Quality.FAST,
        cache_control=CacheControl.NO_STORE,
        output_schema='{"type": "object"}',
        scope="hr",
    )


async def test_a_ledger_delivers_an_item_once_and_keeps_keys_short() -> None:
    class Keeper:
        items: dict[str, Any]

        def __init__(self) -> None:
            self.items = {}
            self.count = 0

        async def progress(self, done: int, total: int, stage: str, message: str = "") -> None:
            pass

        async def item(self, key: str, value: Any) -> None:
            self.items[key] = value
            self.count += 1

    keeper = Keeper()
    ledger = Ledger(keeper)
    long = "n" * 500
    for _ in range(2):
        await ledger.item(long, {"a": 1})
        await ledger.item(long + "m", {"a": 2})
    assert keeper.count == 2
    assert all(len(key) <= MOST_KEY_CHARACTERS for key in keeper.items)
    assert ledger.items[long] == {"a": 1}
    assert long in Ledger(keeper).items
    assert short_key("short") == "short"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 5}', ""),
        ('```json\n{"a": 5}\n```', ""),
        ("{", "it is no JSON"),
        ("NaN", "it is no JSON"),
        ('"\\ud800"', "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ('{"a": "x"}', "a: 'x' is not of type 'integer'"),
        ("[]", "[] is not of type 'object'"),
    ],
)
def test_what_a_model_writes_is_a_value_of_the_schema_or_says_why_not(
    text: str, problem: str
) -> None:
    form = Form({"type": "object", "properties": {"a": {"type": "integer"}}})
    if not problem:
        assert form.read(text) == {"a": 5}
        return
    with pytest.raises(BadOutputError) as caught:
        form.read(text)
    assert str(caught.value) == problem


def test_a_schema_that_cannot_be_applied_says_so() -> None:
    for schema in ({"$ref": "#"}, {"$ref": "#/$defs/gone"}, {"pattern": "("}):
        with pytest.raises(BadOutputError):
            Form(schema).check("text")
    assert parsed("1") == 1


def test_a_schema_that_is_too_long_is_not_looked_at() -> None:
    with pytest.raises(ValueError, match="must have at most 16384 bytes"):
        checked_schema({"type": 5, "enum": ["x" * 20_000]})
