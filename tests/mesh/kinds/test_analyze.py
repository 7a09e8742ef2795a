from __future__ import annotations

import pytest

from libs.errors import CollectionNotFoundError
from libs.values.retrieval import Document
from services.jobs.kinds import Task
from tests.support.corpus import FACTS, TENANT
from tests.support.jobs import Asked, Staff, attempt, saying
from tests.support.provider import Provider

QUESTION = "How much ice does the Tarn glacier lose in a year?"


def read(asked: Asked) -> object:
    """What a reader says: one finding for each text that speaks of ice, with a quote."""
    if "findings" in asked.form:
        text = next(iter(asked.texts.values()))
        quote = text[:24].upper() if "ice" in text else "made up"
        return {"findings": [{"finding": f"It says {text[:12]}", "quote": quote}]}
    return {"answer": "Nine metres [F1], they say [F1; F2] and [F99]; see [x]."}


async def test_an_answer_cites_what_the_documents_say_word_for_word(
    model_staff: Staff, provider: Provider
) -> None:
    asked = saying(provider, read)
    await model_staff.store(
        Document("glacier", "The Tarn glacier\nloses ice.", title="Glacier"),
        Document("bakery", "Bread is baked here.", title="Bakery"),
    )
    given = {"question": QUESTION, "document_ids": ["glacier", "bakery", "gone"]}
    result, told = await attempt(model_staff.clients, "analyze", **given)
    assert result["answer"] == "Nine metres [1], they say [1, 2] and ; see [x]."
    assert [each["cited_text"] for each in result["citations"]] == [
        "The Tarn glacier\nloses i",
        None,
    ]
    first, second = result["citations"]
    assert (first["document_id"], first["start_offset"], first["end_offset"]) == ("glacier", 0, 24)
    assert (second["document_id"], second["number"]) == ("bakery", 2)
    assert result["unread"] == [{"document_id": "gone", "reason": "there is no such document"}]
    assert (result["document_count"], result["relevant_count"]) == (2, 2)
    assert result["quality"] == "full"
    assert told.steps[-1] == (4, 4)
    assert len(asked) == 3


async def test_long_documents_and_many_findings_are_read_in_parts(
    model_staff: Staff, provider: Provider
) -> None:
    def says(asked: Asked) -> object:
        if "findings" in asked.form:
            if asked.texts["long"].endswith("unreadable "):
                return "no JSON"
            finding = "The ice is thinner than it was in the year before. " * 10
            return {"findings": [{"finding": finding, "quote": "the ice"}] * 10}
        numbers = [f"[{text.split()[0]}]" for text in asked.texts.values()]
        return {"answer": "Thinner " + " ".join(numbers)}

    asked = saying(provider, says)
    text = "Much is said of the ice. " * 4_800 + "unreadable "
    await model_staff.store(Document("long", text))
    result, told = await attempt(model_staff.clients, "analyze", question=QUESTION)
    item = told.items["long"]
    assert (item["part_count"], item["unread_part_count"], item["is_cut"]) == (6, 1, False)
    assert len(item["findings"]) == 50
    sizes = [sum(map(len, each.texts.values())) for each in asked]
    assert max(sizes) <= 24_000
    readers = [each for each in asked if "findings" in each.form]
    answerers = [each for each in asked if "answer" in each.form]
    assert (len(readers), len(answerers)) == (7, 2)
    assert "[1]" in result["answer"]
    last = item["findings"][-1]
    assert text[last["start_offset"] : last["end_offset"]] == "the ice"


async def test_an_answer_that_cannot_be_used_leaves_the_findings(
    model_staff: Staff, provider: Provider
) -> None:
    saying(provider, lambda asked: read(asked) if "findings" in asked.form else "no JSON")
    await model_staff.store(Document("glacier", "The Tarn glacier loses ice."))
    result, _ = await attempt(model_staff.clients, "analyze", question=QUESTION)
    assert result["answer"] == "- It says The Tarn gla [1]"
    assert result["reason"] == "the model's answer cannot be used: it is no JSON"


async def test_without_a_model_the_best_sentences_are_quoted(staff: Staff) -> None:
    await staff.store(*[fact.document for fact in FACTS])
    result, _ = await attempt(staff.clients, "analyze", question=QUESTION, query="Tarn glacier ice")
    assert result["answer"] == "- The Tarn glacier loses about nine metres of ice a year. [1]"
    (citation,) = result["citations"]
    assert (citation["document_id"], citation["end_offset"]) == ("glacier", 55)
    assert result["quality"] == "extractive"


async def test_only_documents_that_the_filters_and_the_scope_leave_are_read(staff: Staff) -> None:
    def document(name: str, **more: object) -> Document:
        return Document(name, "The Tarn glacier loses ice each year.", **more)  # type: ignore[arg-type]

    await staff.store(
        document("en", metadata={"lang": "en"}),
        document("de", metadata={"lang": "de"}),
        document("hr", metadata={"lang": "en"}, scope="hr"),
    )
    filters = [{"key": "lang", "any_of": ["en", "fr"]}]
    given = {"question": QUESTION, "filters": filters}
    _, told = await attempt(staff.clients, "analyze", **given)
    assert set(told.items) == {"en"}
    task = Task(TENANT, "job-2", 1, "hr")
    result, told = await attempt(staff.clients, "analyze", task=task, **given)
    assert set(told.items) == {"en", "hr"}
    result, _ = await attempt(staff.clients, "analyze", most_documents=1, **given)
    assert (result["document_count"], result["is_cut"]) == (1, False)
    result, _ = await attempt(staff.clients, "analyze", question=QUESTION, most_documents=1)
    assert (result["document_count"], result["is_cut"]) == (1, True)


async def test_an_empty_collection_has_no_answer_and_one_that_is_not_there_is_an_error(
    staff: Staff,
) -> None:
    await staff.store()
    result, told = await attempt(staff.clients, "analyze", question=QUESTION)
    assert (result["answer"], result["quality"]) == ("", "refusal")
    assert result["reason"] == "there is no document to read"
    assert told.steps[-1] == (1, 1)
    with pytest.raises(CollectionNotFoundError):
        await attempt(staff.clients, "analyze", question=QUESTION, collection="nowhere")


async def test_a_question_in_another_language_is_answered_from_documents_in_it(
    staff: Staff,
) -> None:
    await staff.store(
        Document("eis", "Der Gletscher verliert neun Meter Eis im Jahr. Er ist alt."),
        Document("brot", "Das Brot wird zweimal gebacken."),
    )
    asked = "Wie viel Eis verliert der Gletscher im Jahr?"
    result, _ = await attempt(staff.clients, "analyze", question=asked)
    assert result["answer"] == "- Der Gletscher verliert neun Meter Eis im Jahr. [1]"
