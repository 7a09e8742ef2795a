from __future__ import annotations

from libs.values.retrieval import Document
from tests.support.corpus import FACTS
from tests.support.jobs import Asked, Staff, attempt, saying
from tests.support.provider import Provider


def echoing(asked: Asked) -> str:
    """What a model says: how it was asked, and how many texts it saw."""
    form = (
        "notes" if "notes" in asked.question else "points" if "list" in asked.question else "text"
    )
    return f"{form} of {len(asked.texts)}"


async def test_documents_are_summarized_each_and_together(
    model_staff: Staff, provider: Provider
) -> None:
    asked = saying(provider, echoing)
    long = Document("long", "Words that say little. " * 2_500, title="Long")
    await model_staff.store(Document("a", "Short.", title="A"), long)
    given = {"style": "bullets", "length": "long", "language": "German", "focus": "prices"}
    result, told = await attempt(model_staff.clients, "summarize", **given)
    assert told.items["a"]["summary"] == "points of 1"
    assert told.items["long"]["title"] == "Long"
    assert sum(echoing(each).startswith("notes") for each in asked) == 3
    assert result["summary"].startswith("points of")
    assert (result["document_count"], result["summarized_count"]) == (2, 2)
    assert (result["reason"], result["quality"]) == ("", "full")
    last = asked[-1].question
    assert "at most 12 points" in last
    assert "prices" in last
    assert "Write in German." in last
    assert told.steps[-1] == (3, 3)


async def test_one_text_is_summarized_without_a_collection(
    writers: Staff, provider: Provider
) -> None:
    saying(provider, echoing)
    result, told = await attempt(writers.clients, "summarize", text="Words.")
    assert (result["summary"], result["quality"], told.items) == ("text of 1", "full", {})


async def test_a_model_that_says_nothing_is_said_to(writers: Staff, provider: Provider) -> None:
    saying(provider, lambda _: " ")
    provider.behave(stop_reason="refusal")
    result, _ = await attempt(writers.clients, "summarize", text="Words.")
    assert (result["summary"], result["reason"]) == ("", "the model refused")
    assert result["quality"] == "refusal"


async def test_without_a_model_a_summary_is_the_sentences_that_say_most(staff: Staff) -> None:
    await staff.store(*[fact.document for fact in FACTS[:3]])
    result, told = await attempt(staff.clients, "summarize", style="bullets")
    lines = result["summary"].split("\n")
    told_all = " ".join(fact.text for fact in FACTS[:3])
    assert len(lines) == 3
    assert all(line.removeprefix("- ") in told_all for line in lines)
    assert len(told.items) == 3
    assert result["quality"] == "extractive"


async def test_without_a_model_other_scripts_are_summarized_as_well(staff: Staff) -> None:
    text = (
        "氷河は毎年九メートルの氷を失います。地質学者が八月に測定します。パン屋は朝六時に開きます。"
        * 2
    )
    result, _ = await attempt(staff.clients, "summarize", text=text)
    assert "氷河は毎年九メートルの氷を失います。" in result["summary"]
    result, _ = await attempt(staff.clients, "summarize", text="...")
    assert result["summary"] == ""
    assert result["reason"] == "it has no whole sentences, and no model is configured"


async def test_an_empty_collection_has_no_summary(staff: Staff) -> None:
    await staff.store()
    result, _ = await attempt(staff.clients, "summarize")
    assert (result["summary"], result["document_count"]) == ("", 0)
    assert result["reason"] == "there is nothing to summarize"
