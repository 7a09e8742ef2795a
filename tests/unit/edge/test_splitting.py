"""Long bodies, taken apart without looking at each of their values."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from services.edge.jobs.body import SubmitBody, submission_of
from services.edge.problem import ProblemError
from services.edge.web.exchange import validated
from services.edge.web.splitting import joined, split

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(members=st.dictionaries(st.text(), VALUES))
def test_what_is_taken_apart_is_put_together_again(members: dict[str, Any]) -> None:
    raw = json.dumps(members).encode()
    assert json.loads(joined(split(raw))) == members


def submitted(raw: bytes) -> Any:
    return submission_of(Request({"type": "http", "headers": []}), "acme", raw)


def test_an_input_is_passed_on_as_it_came() -> None:
    raw = b' {"kind": "report", "input" : {"a": [1,  2.50, "\\u00e9"]} , "scope": "hr"}'
    submission = submitted(raw)
    assert submission.input == b'{"a": [1,  2.50, "\\u00e9"]}'
    assert (submission.kind, submission.scope) == ("report", "hr")


@pytest.mark.parametrize(
    ("raw", "reason", "field"),
    [
        (b"[1]", "INVALID_FIELD", ""),
        (b"{}", "INVALID_FIELD", "kind"),
        (b"7", "INVALID_FIELD", ""),
        (b"{", "INVALID_JSON", ""),
        (b'{"kind": "a", "input": [NaN]}', "INVALID_JSON", ""),
        (b'{"kind": "a", "input": [1]}', "INVALID_FIELD", "input"),
        (b'{"kind": "a", "input": {}, "more": 1}', "UNKNOWN_FIELD", "more"),
        (b'{"kind": "a", "input": {}, "more": "' + b"x" * 5000 + b'"}', "INVALID_FIELD", "more"),
        (b'{"kind": "a", "input": ' + b"[" * 5000, "INVALID_JSON", ""),
    ],
)
def test_a_bad_body_is_a_problem_that_names_what_is_wrong(
    raw: bytes, reason: str, field: str
) -> None:
    with pytest.raises(ProblemError) as refused:
        submitted(raw)
    assert (refused.value.problem.reason, refused.value.problem.field) == (reason, field)


@pytest.mark.prove
@pytest.mark.parametrize("value", ["[]", "1", '{"a":1}', '{"id":"1","text":"some words"}'])
def test_a_body_of_4_mib_holds_nobody_up(value: str) -> None:
    raw = b'{"kind":"classify","input":{"n":[%b]}}' % b",".join(
        [value.encode()] * (4 * 1024 * 1024 // (len(value) + 1))
    )

    def as_objects() -> None:
        json.dumps(validated(SubmitBody, raw).input).encode()

    took_s = [_took_s(lambda: submitted(raw)), _took_s(as_objects)]
    print(f"4 MiB of {value}: {took_s[0] * 1e3:.1f} ms, as objects {took_s[1] * 1e3:.0f} ms")
    assert took_s[0] < took_s[1] / 5


def _took_s(work: Callable[[], object]) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s
