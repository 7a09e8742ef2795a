"""What a caller's schema may do to whoever applies it: nothing for long."""

from __future__ import annotations

import time

import pytest

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
