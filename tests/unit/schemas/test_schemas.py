"""What a caller's schema may do to whoever applies it: nothing for long."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from libs.schemas import NotAdmittedError, require_admitted, require_schema


def test_a_pattern_without_an_end_is_given_up() -> None:
    schema = {"type": "array", "items": {"pattern": "^(a|a)+$"}}
    require_schema(schema)
    began_s = time.monotonic()
    # Left alone each would take days.
    with pytest.raises(NotAdmittedError, match="cannot be applied"):
        require_admitted(["a" * 60 + "b"] * 1000, schema)
    assert time.monotonic() - began_s < 10


def test_a_pattern_is_applied_as_anywhere_else() -> None:
    schema = {"pattern": "^[a-z]+(-[0-9]{2})?$"}
    require_admitted("name-12", schema)
    with pytest.raises(NotAdmittedError, match="does not match"):
        require_admitted("Name", schema)
    with pytest.raises(NotAdmittedError, match="cannot be applied"):
        require_admitted("a", {"pattern": "("})


def test_patterns_of_names_have_no_groups() -> None:
    require_schema({"patternProperties": {"^x-[a-z]+$": {"type": "string"}}})
    nested = {"prefixItems": [{"patternProperties": {"^(a|a)+$": {}}}]}
    with pytest.raises(ValueError, match="groups"):
        require_schema({"properties": {"x": nested}})


def is_schema(check: Callable[[Any], object], given: Any) -> bool:
    try:
        check(given)
    except (ValueError, SchemaError):
        return False
    return True


TEXTS = st.sampled_from(
    ["string", "integer", "a", "#", "#x", "1", "(", "[a-z]+", "https://x.example"]
)
KEYWORDS = st.sampled_from(
    [
        "type",
        "properties",
        "items",
        "prefixItems",
        "allOf",
        "not",
        "required",
        "enum",
        "const",
        "pattern",
        "patternProperties",
        "minLength",
        "maximum",
        "multipleOf",
        "uniqueItems",
        "$id",
        "$schema",
        "$anchor",
        "$defs",
        "dependentRequired",
        "dependencies",
        "format",
        "title",
        "x",
    ]
)
PLAIN = st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from([0.0, 1.0, 1.5]) | TEXTS
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS | TEXTS, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(schema=st.dictionaries(KEYWORDS, VALUES, max_size=4) | PLAIN)
def test_what_is_a_schema_is_what_the_schema_of_schemas_says(schema: Any) -> None:
    assume("(" not in json.dumps(schema))
    assert is_schema(require_schema, schema) == is_schema(Draft202012Validator.check_schema, schema)


@pytest.mark.parametrize("schema", [{"pattern": "("}, {"items": {"patternProperties": {"[": {}}}}])
def test_a_pattern_that_is_none_is_refused(schema: Any) -> None:
    assert not is_schema(require_schema, schema)
    assert is_schema(require_schema, {"const": schema, "properties": {"pattern": {"const": 1}}})


@pytest.mark.prove
def test_a_long_schema_is_looked_at_in_some_milliseconds() -> None:
    schema = {"allOf": [{} for _ in range(4000)]}
    took_s = []
    for check in (require_schema, Draft202012Validator.check_schema):
        began_s = time.process_time()
        check(schema)
        took_s.append(time.process_time() - began_s)
    print(f"schema of 16 KB: {took_s[0] * 1e3:.1f} ms, in Python {took_s[1] * 1e3:.0f} ms")
    assert took_s[0] < took_s[1] / 20
