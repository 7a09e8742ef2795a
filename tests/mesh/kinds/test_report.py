from __future__ import annotations

from dataclasses import replace

from libs.clients.embedding import EmbeddingClient
from libs.values.retrieval import Document
from tests.support.corpus import FACTS
from tests.support.jobs import Asked, Staff, attempt, saying
from tests.support.provider import Provider

OUTLINE = {
    "title": "Ice and  bread",
    "sections": [
        {"heading": "Ice", "query": "How much ice does the glacier lose?"},
        {"heading": "Bread", "query": "When does the bakery open?"},
        {"heading": " ", "query": "nothing"},
    ],
}


def planned(asked: Asked) -> object:
    """What a model says: the outline; sections are left to the provider, which cites."""
    return OUTLINE if "sections" in asked.form else None


async def test_a_report_is_an_outline_and_sections_with_their_sources(
    model_staff: Staff, provider: Provider
) -> None:
    asked = saying(provider, planned)
    provider.behave(cites=1)
    await model_staff.store(*[fact.document for fact in FACTS])
    given = {"topic": "What happens in town?", "language": "English"}
    result, told = await attempt(model_staff.clients, "report", **given)
    assert set(told.items) == {"outline", "section:0", "section:1"}
    assert told.items["outline"]["title"] == "Ice and bread"
    ice, bread = told.items["section:0"], told.items["section:1"]
    assert ice["heading"] == "Ice"
    parts = result["markdown"].split("\n\n")
    assert parts[0] == "# Ice and bread"
    assert parts[1] == "## Ice"
    assert parts[2].endswith(" [1]")
    assert parts[3] == "## Bread"
    assert parts[-2] == "---"
    cited = {each["document_id"] for each in (*ice["citations"], *bread["citations"])}
    assert [each["number"] for each in result["sources"]] == list(range(1, len(cited) + 1))
    assert {each["document_id"] for each in result["sources"]} == cited
    assert (result["section_count"], result["quality"]) == (2, "full")
    section = next(each for each in asked if "The section: Ice" in each.question)
    assert "The other sections: Bread" in section.question
    assert "Glacier" in section.texts


async def test_headings_that_are_given_are_kept_and_those_without_a_source_are_named(
    staff: Staff,
) -> None:
    await staff.store(FACTS[0].document, Document("x", "Nothing of interest stands here."))
    given = {"topic": "Arran", "outline": ["The lighthouse", "Zebras"]}
    result, _ = await attempt(staff.clients, "report", **given)
    assert result["markdown"].startswith("# Arran\n\n## The lighthouse\n\nThe lighthouse of Arran")
    assert "\n\n---\n\n1. Lighthouse" in result["markdown"]
    assert result["empty_sections"] == ["Zebras"]


async def test_without_a_model_sections_are_documents_quoted_to_the_topic(staff: Staff) -> None:
    await staff.store(*[fact.document for fact in FACTS])
    result, told = await attempt(staff.clients, "report", topic="What freezes over in January?")
    assert "## Harbour\n\nThe harbour of Velm freezes over in January. [1]" in result["markdown"]
    assert "Bakery" not in result["markdown"]
    assert result["quality"] == "extractive"
    assert told.steps[-1] == (6, 6)


async def test_an_outline_that_cannot_be_used_is_made_of_the_documents(
    model_staff: Staff, provider: Provider
) -> None:
    saying(provider, lambda asked: {"title": "x"} if asked.form else None)
    await model_staff.store(FACTS[0].document)
    result, told = await attempt(model_staff.clients, "report", topic="The lighthouse of Arran")
    assert told.items["outline"]["sections"][0]["heading"] == "Lighthouse"
    assert "no outline by a model" in result["reason"]
    assert result["section_count"] == 1


async def test_passages_are_found_by_words_where_there_are_no_vectors(staff: Staff) -> None:
    await staff.store(*[fact.document for fact in FACTS])
    topic = "What freezes over in January?"
    nowhere = EmbeddingClient(staff.connections["generation"])
    for client in (None, nowhere):
        clients = replace(staff.clients, embedding=client)
        result, _ = await attempt(clients, "report", topic=topic)
        assert "## Harbour" in result["markdown"]


async def test_an_empty_collection_has_no_report(staff: Staff) -> None:
    await staff.store()
    result, _ = await attempt(staff.clients, "report", topic="Anything")
    assert (result["markdown"], result["sources"], result["quality"]) == ("", [], "refusal")
    assert result["reason"] == "nothing was found for it"
