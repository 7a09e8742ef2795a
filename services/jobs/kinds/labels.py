"""Labels, as a model is told of them and as its answers are checked against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import StringConstraints

from services.jobs.kinds.kind import JobInput
from services.jobs.kinds.writing import DATA_RULE

LabelName = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Label(JobInput):
    """A label, and what it means."""

    name: LabelName
    description: Annotated[str, StringConstraints(max_length=1_000)] = ""


def system_of(labels: Sequence[Label], instructions: str, *, multiple: bool) -> str:
    """Return what a model is told of labels and of what it is to do with them."""
    listed = "\n".join(
        f"- {each.name}: {each.description}" if each.description else f"- {each.name}"
        for each in labels
    )
    how_many = (
        "Give each row every label that fits, perhaps none"
        if multiple
        else "Give each row the one label that fits best, or null if none fits"
    )
    rule = (
        f"You sort rows of text into labels. {how_many}; where there is none, say why in `reason`,"
        f" in at most ten words. `row` is the number in the row's title, as in `row 3`. {DATA_RULE}"
    )
    return "\n\n".join(filter(None, (rule, f"The labels:\n{listed}", instructions)))


def row_schema(names: Sequence[str], *, multiple: bool) -> dict[str, Any]:
    """Return the schema of what is said of one row."""
    name = {"type": "string", "enum": list(names)}
    field = "labels" if multiple else "label"
    label = {"type": "array", "items": name} if multiple else {"anyOf": [name, {"type": "null"}]}
    return {
        "type": "object",
        "properties": {"row": {"type": "integer"}, field: label, "reason": {"type": "string"}},
        "required": ["row", field],
        "additionalProperties": False,
    }


def reply_schema(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of what is said of several rows, each of them being as `row` says."""
    return {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": row}},
        "required": ["rows"],
        "additionalProperties": False,
    }
