"""The page of the kinds says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.jobs.kinds import KINDS
from services.jobs.kinds.inputs import DocumentChoice

PAGE = (Path(__file__).parents[3] / "docs/reference/jobs.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_every_kind_has_its_section() -> None:
    assert SECTIONS.keys() == KINDS.keys()


@pytest.mark.parametrize("name", KINDS)
def test_the_example_of_a_kind_is_taken_and_its_fields_are_named(name: str) -> None:
    (example,) = re.findall(r"^```json\n(.*?)^```", SECTIONS[name], re.MULTILINE | re.DOTALL)
    assert KINDS[name].input.model_validate_json(example)
    fields = set(KINDS[name].input.model_fields)
    if issubclass(KINDS[name].input, DocumentChoice):
        fields -= DocumentChoice.model_fields.keys()
        assert "a choice of documents" in SECTIONS[name]
    rows = [line for line in SECTIONS[name].splitlines() if line.startswith("| `")]
    named = {field for row in rows for field in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert fields <= named
