"""Long texts that are refused before their models read them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from libs.errors import InvalidFieldError
from libs.screening import LONG_BYTES, BadFormError, NotJsonError, screen
from libs.values.jobs import Submission
from services.edge.answers.body import AskBody
from services.edge.chat.body import ChatBody, NamedSchema
from services.edge.documents.body import UploadBody
from services.edge.problem import ProblemError
from services.edge.web.exchange import validated
from services.jobs.kinds import KINDS
from services.jobs.submitting import check_submission

FILE = {"name": "a", "content": "x", "metadata": {"k": "v"}}
TURN = {"role": "user", "text": "x"}
MESSAGE = {"role": "user", "content": "x", "more": [1]}
CLASSIFY, INGEST = KINDS["classify"].input, KINDS["ingest"].input
LABELS = ["praise", {"name": "complaint", "description": "x"}]


def long(members: Any) -> bytes:
    """Return a JSON text that is long enough to be looked at."""
    return json.dumps(members).encode() + b" " * LONG_BYTES


@pytest.mark.parametrize(
    ("model", "members"),
    [
        (UploadBody, {"files": [FILE], "result_ttl_s": 5, "scope": "hr"}),
        (AskBody, {"question": "x", "history": [TURN], "budget_ms": None}),
        (AskBody, {"question": "x", "output_schema": {"a": [1, {"b": None}]}}),
        (ChatBody, {"model": "m", "messages": [MESSAGE], "more": 1}),
        (NamedSchema, {"name": "a", "schema": {"a": 1}}),
        (ChatBody, {"model": "m", "messages": [MESSAGE | {"content": [{"type": "text"}]}]}),
        (CLASSIFY, {"labels": LABELS, "rows": ["a", {"text": "b", "id": "1"}]}),
        (INGEST, {"files": [FILE], "collection": "c"}),
    ],
)
def test_what_a_model_takes_passes(model: Any, members: Any) -> None:
    screen(model, long(members))
    assert model.model_validate_json(long(members))


@pytest.mark.parametrize(
    ("model", "members", "field", "is_unknown"),
    [
        (UploadBody, {"files": [FILE | {"more": 1}]}, "files[0].more", True),
        (UploadBody, {"files": [FILE], "more": []}, "more", True),
        (UploadBody, {"files": [FILE, []]}, "files[1]", False),
        (UploadBody, {"files": [{"content": "x"}]}, "files[0].name", False),
        (UploadBody, [], "", False),
        (AskBody, {"question": "x", "history": [TURN | {"text": 5}]}, "history[0].text", False),
        (AskBody, {"question": 5}, "question", False),
        (ChatBody, {"model": "m", "messages": [[]]}, "messages[0]", False),
    ],
)
def test_the_problem_names_what_the_model_would_name(
    model: Any, members: Any, field: str, *, is_unknown: bool
) -> None:
    with pytest.raises(BadFormError) as refused:
        screen(model, long(members))
    assert (refused.value.field, refused.value.is_unknown) == (field, is_unknown)
    for raw in (json.dumps(members).encode(), long(members)):
        with pytest.raises(ProblemError) as told:
            validated(model, raw)
        assert told.value.problem.field == field
        assert (told.value.problem.reason == "UNKNOWN_FIELD") is is_unknown


@pytest.mark.parametrize(
    "raw", [b"{", b'{"output_schema": ' + b"[" * 5000, b"\xff", b'{"question": NaN}']
)
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(NotJsonError):
        screen(AskBody, raw + b" " * LONG_BYTES)


@pytest.mark.parametrize(
    ("kind", "members", "field"),
    [
        ("ingest", {"files": [FILE, []]}, "input.files.1"),
        ("ingest", {"files": [FILE | {"content": 5}]}, "input.files.0.content"),
        ("classify", {"labels": LABELS, "rows": [1]}, "input.rows.0"),
        ("classify", {"labels": LABELS, "rows": ["a"] * 10_001}, "input.rows"),
        ("answer", {"question": "x", "output_schema": {"a": [[]] * 30_000}}, "input.output_schema"),
        ("report", {"more": 1}, "input.more"),
    ],
)
async def test_a_long_input_of_a_job_is_refused_at_its_first_mistake(
    kind: str, members: Any, field: str
) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        await check_submission(Submission("acme", kind, long(members)), KINDS)
    assert refused.value.field == field


BAD = [
    (UploadBody, b'{"files":', b"[]"),
    (UploadBody, b'{"files":[{"name":"a","content":"x"}],"more":', b"1"),
    (CLASSIFY, b'{"labels":["a","b"],"rows":', b"1"),
    (INGEST, b'{"files":', b"[]"),
    (KINDS["answer"].input, b'{"question":"x","history":', b"{}"),
    (KINDS["answer"].input, b'{"question":"x","output_schema":{"a":1},"history":', b"[]"),
]


@pytest.mark.prove
@pytest.mark.parametrize(("model", "head", "value"), BAD)
def test_no_text_of_15_mib_is_looked_at_for_long(model: Any, head: bytes, value: bytes) -> None:
    count = 15 * 1024 * 1024 // (len(value) + 1)
    raw = head + b"[" + b",".join([value] * count) + b"]}"
    began_s = time.process_time()
    with pytest.raises(BadFormError):
        screen(model, raw)
    took_s = time.process_time() - began_s
    print(f"15 MiB of {head[:24]!r}: {took_s * 1e3:.1f} ms")
    assert took_s < 0.2
