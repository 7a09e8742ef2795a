from __future__ import annotations

import json

import pytest

from libs.errors import PolicyNotFoundError
from services.jobs.kinds import Task
from tests.support.corpus import FACTS, TENANT
from tests.support.jobs import attempt, clients_of
from tests.support.mesh import Mesh


async def test_a_question_is_answered_whole_as_the_edge_says_it(mesh: Mesh) -> None:
    fact = FACTS[0]
    given = {"question": fact.question, "history": [{"role": "user", "text": "Hello."}]}
    result, told = await attempt(clients_of(mesh), "answer", **given)
    assert fact.answer in result["answer"]
    assert result["finish_reason"] == "end_turn"
    assert result["quality"].startswith("extractive")
    assert result["sources"][0]["document_id"] == fact.name
    assert result["latency"]["deadline_ms"] >= 60_000
    assert (told.steps[0], told.steps[-1], told.items) == ((0, 3), (3, 3), {})
    assert json.dumps(result)
    outlined, told = await attempt(clients_of(mesh), "answer", render="outline", **given)
    assert fact.answer in outlined["answer"]
    assert told.steps[-1] == (3, 3)
    with pytest.raises(PolicyNotFoundError):
        await attempt(clients_of(mesh), "answer", policy="none", **given)


async def test_a_tenants_scope_holds_for_its_jobs(mesh: Mesh) -> None:
    task = Task("nobody-else", "job-1", 1)
    assert task.tenant_id != TENANT
    question = FACTS[0].question
    await mesh.retrieval.create_collection(task.tenant_id, "default")
    result, _ = await attempt(clients_of(mesh), "answer", task=task, question=question)
    assert FACTS[0].answer not in result["answer"]
