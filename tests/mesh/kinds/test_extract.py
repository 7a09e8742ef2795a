from __future__ import annotations

from libs.values.retrieval import Document
from tests.support.jobs import Asked, Staff, attempt, saying
from tests.support.provider import Provider

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "year": {"type": "integer", "minimum": 1500}},
    "required": ["name", "year"],
    "additionalProperties": False,
}
GOOD = {"name": "Moor", "year": 1821}


async def test_each_row_becomes_a_value_of_the_schema(writers: Staff, provider: Provider) -> None:
    asked = saying(provider, lambda _: GOOD)
    rows = ["built by Moor in 1821", {"id": "b", "text": "again"}, "again"]
    given = {"rows": rows, "output_schema": SCHEMA, "instructions": "Years are of our era."}
    result, told = await attempt(writers.clients, "extract", **given)
    assert told.items == {key: {"value": GOOD} for key in ("0", "b", "2")}
    assert (result["item_count"], result["extracted_count"], result["quality"]) == (3, 3, "full")
    assert len(asked) == 2
    assert "Years are of our era." in asked[0].system


async def test_what_does_not_fit_is_repaired_once_and_otherwise_named(
    writers: Staff, provider: Provider
) -> None:
    def says(asked: Asked) -> object:
        row = next(iter(asked.texts.values()))
        if row == "repairable":
            return GOOD if asked.turn_count == 2 else {"name": "Moor", "year": 21}
        return {"year": "unknown"}

    asked = saying(provider, says)
    rows = ["repairable", "hopeless"]
    result, told = await attempt(writers.clients, "extract", rows=rows, output_schema=SCHEMA)
    assert told.items["0"] == {"value": GOOD}
    assert told.items["1"]["reason"].startswith("the model's answer cannot be used: ")
    assert (result["extracted_count"], result["failed_count"], len(asked)) == (1, 1, 4)
    (repair,) = [each for each in asked if each.turn_count == 2 and "repairable" in str(each.texts)]
    assert "year: 21 is less than the minimum of 1500" in repair.question


async def test_documents_are_read_where_there_are_no_rows(
    model_staff: Staff, provider: Provider
) -> None:
    saying(provider, lambda _: GOOD)
    secret, long = Document("secret", "x", scope="hr"), Document("long", "word " * 40_000)
    await model_staff.store(Document("a", "Built by Moor."), secret, long)
    ids = ["a", "secret", "gone", "long"]
    given = {"document_ids": ids, "output_schema": SCHEMA}
    result, told = await attempt(model_staff.clients, "extract", **given)
    assert told.items["a"] == {"document_id": "a", "value": GOOD}
    assert {key: each.get("reason") for key, each in told.items.items()} == {
        "a": None,
        "secret": "there is no such document",
        "gone": "there is no such document",
        "long": "has 200000 characters, more than 160000",
    }
    assert result["extracted_count"] == 1


async def test_without_a_model_nothing_is_made_up(staff: Staff) -> None:
    result, told = await attempt(staff.clients, "extract", rows=["x"], output_schema=SCHEMA)
    assert told.items["0"] == {"reason": "no model is configured"}
    assert result["quality"] == "refusal"
