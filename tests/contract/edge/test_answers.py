"""Answers over HTTP, whole: what is asked and what is told."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx
import pytest

from libs.clients.answer import AnswerClient
from libs.values import (
    AnswerEvent,
    CacheControl,
    CacheHit,
    CacheLayer,
    Quality,
    Question,
    Revised,
    TextDelta,
    Verdict,
)
from tests.support.answering_edge import ASK, CITATION, COMPLETED, PLAN, WHOLE, Orchestrator


async def test_an_answer_is_one_json_object(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/answers", json=ASK)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer["answer"] == "Because\nof „scattering“."
    assert answer["citations"][0]["document_id"] == "d1"
    assert answer["sources"][0]["text"] == "Blue light scatters."
    assert answer["quality"] == "full"
    assert answer["finish_reason"] == "end_turn"
    assert answer["answer_state"] == "complete"
    assert answer["degradations"] == [{"hop": "cache.semantic", "reason": "NO_TIME"}]
    assert answer["cache"] is None
    assert answer["usage"]["output_tokens"] == 5
    assert (answer["trace_id"], answer["run_id"]) == ("ab" * 16, "run-1")


async def test_an_answer_says_where_its_time_went(http: httpx.AsyncClient) -> None:
    latency = (await http.post("/v1/answers", json=ASK)).json()["latency"]
    assert (latency["total_ms"], latency["first_text_ms"], latency["budget_ms"]) == (500, 250, 700)
    generation, semantic = latency["hops"]
    assert generation == {
        "hop": "generation",
        "start_ms": 10,
        "granted_ms": 9000,
        "used_ms": 480,
        "queue_ms": 10,
        "compute_ms": 20,
        "model_ms": 440,
        "network_ms": 10,
        "slack_ms": 8520,
        "outcome": "ok",
        "skipped": None,
    }
    assert semantic["skipped"] == "NO_TIME"
    assert sum(piece["length_ms"] for piece in latency["pieces"]) == latency["total_ms"]
    assert latency["unattributed_ms"] == 1


async def test_a_cached_answer_says_so(http: httpx.AsyncClient, orchestrator: Orchestrator) -> None:
    hit = CacheHit(
        CacheLayer.SEMANTIC,
        0.97,
        12.5,
        "run-0",
        stale=True,
        refresh_run_id="run-1",
        index_version=7,
    )
    orchestrator.events = (PLAN, TextDelta("Yes."), replace(COMPLETED, usage=None, cache_hit=hit))
    answer = (await http.post("/v1/answers", json=ASK)).json()
    assert answer["cache"] == {
        "layer": "semantic",
        "similarity": 0.97,
        "age_s": 12.5,
        "entry_id": "run-0",
        "stale": True,
        "refresh_run_id": "run-1",
        "index_version": 7,
    }
    assert answer["usage"] is None


@pytest.mark.parametrize("control", list(CacheControl))
async def test_each_way_to_use_the_cache_arrives(
    http: httpx.AsyncClient, orchestrator: Orchestrator, control: CacheControl
) -> None:
    body = ASK | {"cache_control": control.name.lower().replace("_", "-")}
    assert (await http.post("/v1/answers", json=body)).status_code == 200
    assert orchestrator.asked is not None
    assert orchestrator.asked.cache_control is control


@pytest.mark.parametrize("least", list(Quality)[1:])
async def test_each_quality_can_be_asked_for(
    http: httpx.AsyncClient, orchestrator: Orchestrator, least: Quality
) -> None:
    body = ASK | {"minimum_quality": least.name.lower()}
    assert (await http.post("/v1/answers", json=body)).status_code == 200
    assert orchestrator.asked is not None
    assert orchestrator.asked.minimum_quality is least


async def test_what_was_revised_is_not_in_the_answer(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    withdrawn = (TextDelta("No. "), CITATION, Revised("MODEL_INTERRUPTED"))
    orchestrator.events = (PLAN, *withdrawn, TextDelta("Yes."), COMPLETED)
    answer = (await http.post("/v1/answers", json=ASK)).json()
    assert (answer["answer"], answer["citations"]) == ("Yes.", [])


async def test_every_field_of_a_question_arrives(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    body = ASK | {
        "history": [{"role": "user", "text": "Hi"}, {"role": "assistant", "text": "Hello"}],
        "collection": "manuals",
        "filters": [{"key": "lang", "any_of": ["en", "de"]}],
        "policy": "patient",
        "budget_ms": 1500,
        "deadline_ms": 9000,
        "minimum_quality": "extractive",
        "cache_control": "no-store",
        "render": "block",
        "output_schema": {"type": "object"},
        "resumable": True,
        "scope": "hr",
    }
    assert (await http.post("/v1/answers", json=body)).status_code == 200
    asked = orchestrator.asked
    assert asked is not None
    assert (asked.tenant_id, asked.question) == ("acme", "Why is the sky blue?")
    assert [(turn.role.name, turn.text) for turn in asked.history] == [
        ("USER", "Hi"),
        ("ASSISTANT", "Hello"),
    ]
    assert (asked.collection, asked.policy, asked.scope) == ("manuals", "patient", "hr")
    assert (asked.filters[0].key, asked.filters[0].any_of) == ("lang", ("en", "de"))
    assert asked.first_text_by_s is not None
    assert 0.5 < asked.first_text_by_s <= 1.5
    assert orchestrator.granted_s is not None
    assert 5 < orchestrator.granted_s <= 9
    assert asked.minimum_quality is Quality.EXTRACTIVE
    assert (asked.cache_control.name, asked.render.name) == ("NO_STORE", "BLOCK")
    assert json.loads(asked.output_schema) == {"type": "object"}
    assert asked.resumable


async def test_without_times_of_its_own_a_question_takes_those_of_its_policy(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    await http.post("/v1/answers", json=ASK)
    assert orchestrator.asked is not None
    assert orchestrator.asked.first_text_by_s is None
    assert orchestrator.granted_s is None


async def test_the_client_follows_stops_and_judges_runs(client: AnswerClient) -> None:
    async with client.watch("acme", "run-1", 5) as events:
        assert [each.sequence async for each in events] == [6, 7]
    assert await client.stop("acme", "run-1")
    assert not await client.stop("acme", "run-2")
    assert await client.report("acme", "run-1", Verdict.BAD)
    assert not await client.report("acme", "run-1", Verdict.GOOD)


async def test_the_client_yields_each_event_as_it_was_sent(client: AnswerClient) -> None:
    async with client.ask(Question("acme", "Why?"), limit_s=30) as events:
        assert [each async for each in events] == [
            AnswerEvent(sequence, event) for sequence, event in enumerate(WHOLE, 1)
        ]
