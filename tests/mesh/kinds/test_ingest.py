from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence

import pytest

from libs.clients.embedding import EmbeddingClient
from libs.errors import DocumentNotFoundError
from libs.values.retrieval import Document, TextFormat
from services.jobs.kinds import Task
from services.retrieval.chunking import Chunker
from tests.support.corpus import TENANT
from tests.support.jobs import Staff, Told, attempt
from tests.support.pdf import pdf


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_each_file_is_stored_or_named_with_its_reason(staff: Staff) -> None:
    files = [
        {"name": "guide.md", "content": "# Guide\n\nWords."},
        {
            "name": "page.html",
            "content": "<meta charset=latin-1><title>Über</title><h1>Head</h1><p>Text.</p>",
        },
        {"name": "paper.pdf", "content_base64": encoded(pdf(["On paper."], "A paper"))},
        {"name": "rows.jsonl", "content": '{"text": "One."}\n{"id": "two", "text": "Two."}\n{'},
        {"name": "notes.txt", "content": "Plain.", "title": "Notes", "metadata": {"lang": "en"}},
        {"name": "empty.md", "content": ""},
        {"name": "blank.jsonl", "content": "\n\n"},
        {"name": "broken.pdf", "content_base64": encoded(b"%PDF-1.4 and no more")},
        {"name": "binary.txt", "content_base64": encoded(b"a\0b")},
        {"name": "slip.txt", "content_base64": "not base 64!"},
        {"name": "notes.txt", "content": "Again."},
    ]
    result, told = await attempt(staff.clients, "ingest", files=files)
    assert result == {
        "collection": "default",
        "file_count": 11,
        "stored_file_count": 5,
        "document_count": 6,
        "changed_count": 6,
        "passage_count": 6,
        "unreadable_count": 7,
        "failed_files": [
            {"name": "empty.md", "reason": "is empty"},
            {"name": "blank.jsonl", "reason": "is empty"},
            {"name": "broken.pdf", "reason": "is a damaged PDF"},
            {"name": "binary.txt", "reason": "is binary"},
            {"name": "slip.txt", "reason": "is not base64"},
            {"name": "notes.txt", "reason": "has the id 'notes.txt', as notes.txt has"},
        ],
    }
    assert told.items["rows.jsonl"]["document_ids"] == ["rows.jsonl:1", "two"]
    assert told.items["rows.jsonl"]["unreadable"][0]["where"] == "rows.jsonl:3"
    assert told.steps[0] == (0, 11)
    assert told.steps[-1] == (11, 11)
    stored = (await staff.retrieval.get(TENANT, "default", "notes.txt")).document
    assert (stored.title, stored.metadata, stored.text) == ("Notes", {"lang": "en"}, "Plain.")
    page = (await staff.retrieval.get(TENANT, "default", "page.html")).document
    assert (page.title, page.format) == ("Über", TextFormat.MARKDOWN)


async def test_the_same_files_again_change_nothing(staff: Staff) -> None:
    given = {"files": [{"name": "a.md", "content": "Words."}], "collection": "other"}
    await attempt(staff.clients, "ingest", **given)
    again, _ = await attempt(staff.clients, "ingest", **given)
    assert (again["document_count"], again["changed_count"]) == (1, 0)


async def test_a_document_that_retrieval_refuses_is_named_and_the_others_are_stored(
    staff: Staff,
) -> None:
    rows = '{"id": "good", "text": "x"}\n{"id": "bad", "text": "x", "title": "%s"}' % ("t" * 600)
    result, told = await attempt(
        staff.clients, "ingest", files=[{"name": "rows.jsonl", "content": rows}]
    )
    assert result["document_count"] == 1
    reason = told.items["rows.jsonl"]["unreadable"][0]["reason"]
    assert reason == "is refused: must have at most 512 characters, has 600"


async def test_a_document_goes_where_it_is_said_to(staff: Staff) -> None:
    files = [
        {"name": "a.jsonl", "content": '{"text": "x"}', "document_id": "named"},
        {"name": "b.bin", "content": "<p>Hi", "media_type": "text/html", "document_id": "page"},
    ]
    task = Task(TENANT, "job-1", 1, "hr")
    await attempt(staff.clients, "ingest", task=task, files=files)
    found = (await staff.retrieval.get(TENANT, "default", "named:1")).document
    assert (found.scope, found.uri) == ("hr", "")
    await attempt(staff.clients, "ingest", task=task, files=files, scope="")
    assert (await staff.retrieval.get(TENANT, "default", "named:1")).document.scope == ""
    assert (await staff.retrieval.get(TENANT, "default", "page")).document.text == "Hi"


async def test_a_row_goes_into_no_scope_but_those_of_its_job(staff: Staff) -> None:
    rows = "\n".join(
        json.dumps({"id": f"row of {scope}", "text": "x", "scope": scope})
        for scope in ("hr", "board", "staff", "")
    )
    result, told = await attempt(
        staff.clients,
        "ingest",
        task=Task(TENANT, "job-1", 1, "hr"),
        files=[{"name": "rows.jsonl", "content": rows}],
        scope="staff",
    )
    assert (result["document_count"], result["unreadable_count"]) == (3, 1)
    refused = {"where": "rows.jsonl:2", "reason": "has a scope that is not the job's"}
    assert told.items["rows.jsonl"]["unreadable"] == [refused]
    for scope, stored in (("hr", "hr"), ("staff", "staff"), ("", "staff")):
        found = await staff.retrieval.get(TENANT, "default", f"row of {scope}")
        assert found.document.scope == stored


async def test_a_document_of_another_scope_is_not_replaced(staff: Staff) -> None:
    files = [
        {"name": name, "content": f"{name} by hr."} for name in ("plan.md", "own.md", "open.md")
    ]
    there = [
        Document(name, "Before.", scope=scope)
        for name, scope in (("plan.md", "board"), ("own.md", "hr"), ("open.md", ""))
    ]
    await staff.retrieval.create_collection(TENANT, "shared")
    await staff.retrieval.upsert(TENANT, "shared", there)
    result, _ = await attempt(
        staff.clients,
        "ingest",
        task=Task(TENANT, "job-1", 1, "hr"),
        files=files,
        collection="shared",
    )
    reason = "has the id of a document whose scope is not the job's"
    assert result["failed_files"] == [{"name": "plan.md", "reason": reason}]
    texts = [
        (await staff.retrieval.get(TENANT, "shared", each["name"])).document.text for each in files
    ]
    assert texts == ["Before.", "own.md by hr.", "open.md by hr."]


async def test_files_that_an_earlier_attempt_has_told_of_are_not_read_again(staff: Staff) -> None:
    files = [{"name": f"{'n' * 400}{number}.md", "content": "Words."} for number in range(3)]
    _, told = await attempt(staff.clients, "ingest", files=files)
    await staff.retrieval.delete(TENANT, "default", [files[0]["name"]])
    again, _ = await attempt(staff.clients, "ingest", Told(dict(told.items)), files=files)
    assert again["document_count"] == 3
    try:
        await staff.retrieval.get(TENANT, "default", files[0]["name"])
    except DocumentNotFoundError:
        return
    raise AssertionError("it was stored again")


MARKDOWN = "# Part {n}\n\n" + "Sentence {n} says what is to be said of its subject. " * 60
PAGE = "<nav>Menu</nav><h1>Page {n}</h1>" + "<p>Paragraph {n} of a page that is read.</p>" * 60


def mixed(number: int) -> dict[str, str]:
    """One of 500 files of all formats; one in ten cannot be read."""
    match number % 10:
        case 0:
            return {"name": f"{number}.pdf", "content": "%PDF-1.7 broken"}
        case 1 | 2 | 3:
            return {"name": f"{number}.md", "content": MARKDOWN.format(n=number)}
        case 4 | 5:
            return {"name": f"{number}.html", "content": PAGE.format(n=number)}
        case 6 | 7:
            pages = pdf([f"Page {page} of paper {number}.\n" * 40 for page in range(2)])
            return {"name": f"{number}.pdf", "content_base64": encoded(pages)}
        case _:
            return {"name": f"{number}.txt", "content": f"Line {number} of a note. " * 80}


async def encoding_s(staff: Staff, passages: Sequence[str]) -> float:
    """Seconds that the encoder takes for passages when it is asked for nothing else."""
    client = EmbeddingClient(staff.connections["embedding"])
    began_s = time.monotonic()
    for start in range(0, len(passages), 64):
        async with client.stream(passages[start : start + 64]) as blocks:
            _ = [block async for block in blocks]
    return time.monotonic() - began_s


@pytest.mark.prove
async def test_five_hundred_mixed_files_are_in_or_named_as_fast_as_the_encoder_goes(
    staff: Staff,
) -> None:
    files = [mixed(number) for number in range(498)]
    files.append({"name": "empty.md", "content": ""})
    files.append({"name": "huge.pdf", "content_base64": encoded(b"%PDF-1.4" + bytes(50 * 2**20))})
    began_s = time.monotonic()
    result, told = await attempt(staff.clients, "ingest", files=files)
    took_s = time.monotonic() - began_s
    count = result["passage_count"]
    assert len(told.items) == 500
    assert len(result["failed_files"]) == 52
    assert {each["reason"] for each in result["failed_files"]} == {
        "is a damaged PDF",
        "is empty",
        "has about 52428810 bytes, more than 52428800",
    }
    began_s = time.monotonic()
    again, _ = await attempt(staff.clients, "ingest", files=files)
    again_s = time.monotonic() - began_s
    assert again["changed_count"] == 0
    markdown = [each["content"] for each in files if each["name"].endswith(".md")]
    cut = Chunker(900)
    documents = [Document(str(at), text) for at, text in enumerate(markdown) if text]
    passages = [each.text[one.start : one.end] for each in documents for one in cut.split(each)]
    alone_s = await encoding_s(staff, passages) / len(passages)
    print(
        f"\n{count} passages in {took_s:.1f} s, {count / took_s:.0f} a second; again in"
        f" {again_s:.1f} s; the encoder alone does {1 / alone_s:.0f} a second"
    )
    assert took_s <= 1.5 * count * alone_s
    assert again_s <= took_s / 4
