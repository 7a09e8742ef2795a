"""Long bodies that are refused before their models read them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from services.edge.answers.body import AskBody
from services.edge.chat.body import ChatBody
from services.edge.documents.body import UploadBody
from services.edge.problem import ProblemError
from services.edge.web.exchange import validated
from services.edge.web.screening import screen

FILE = {"name": "a", "content": "x" * 20_000, "metadata": {"k": "v"}}
TURN = {"role": "user", "text": "x" * 20_000}
WHOLE = [
    (UploadBody, {"files": [FILE], "result_ttl_s": 5, "scope": "hr"}),
    (AskBody, {"question": "x", "history": [TURN], "budget_ms": None, "output_schema": {"a": [1]}}),
    (
        ChatBody,
        {"model": "hasten", "messages": [{"role": "user", "content": "x", "k": [1]}], "k": 1},
    ),
    (ChatBody, {"model": "hasten", "messages": [{"role": "user", "content": [{"type": "text"}]}]}),
]


@pytest.mark.parametrize(("model", "members"), WHOLE)
def test_what_a_model_takes_passes(model: Any, members: Any) -> None:
    raw = json.dumps(members).encode()
    screen(model, raw)
    assert validated(model, raw) == model.model_validate_json(raw)


@pytest.mark.parametrize(
    ("model", "members", "reason", "field"),
    [
        (UploadBody, {"files": [FILE | {"more": 1}]}, "UNKNOWN_FIELD", "files[0].more"),
        (UploadBody, {"files": [FILE, []]}, "INVALID_FIELD", "files[1]"),
        (UploadBody, {"files": [{"content": "x"}]}, "INVALID_FIELD", "files[0].name"),
        (UploadBody, {"files": [FILE], "more": []}, "UNKNOWN_FIELD", "more"),
        (UploadBody, [], "INVALID_FIELD", ""),
        (
            AskBody,
            {"question": "x", "history": [{"role": "user", "text": 5}]},
            "INVALID_FIELD",
            "history[0].text",
        ),
        (AskBody, {"question": 5}, "INVALID_FIELD", "question"),
        (ChatBody, {"model": "hasten", "messages": [[]]}, "INVALID_FIELD", "messages[0]"),
    ],
)
def test_the_problem_names_what_the_model_would_name(
    model: Any, members: Any, reason: str, field: str
) -> None:
    raw = json.dumps(members).encode()
    for check in (screen, validated):
        with pytest.raises(ProblemError) as refused:
            check(model, raw)
        assert (refused.value.problem.reason, refused.value.problem.field) == (reason, field)


@pytest.mark.parametrize("raw", [b"{", b"[" * 20_000, b"\xff", b'{"question": NaN}'])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(ProblemError):
        screen(AskBody, raw)


@pytest.mark.prove
def test_no_upload_of_15_mib_holds_the_loop_for_long() -> None:
    lists = b",".join([b"[]"] * 5_000_000)
    for raw in (b'{"files":[%b]}' % lists, b'{"files":[{"name":"a","more":[%b]}]}' % lists):
        began_s = time.process_time()
        with pytest.raises(ProblemError):
            validated(UploadBody, raw)
        took_s = time.process_time() - began_s
        print(f"15 MiB of {raw[:12]!r}: {took_s * 1e3:.1f} ms")
        assert took_s < 0.2
