"""A policy's word on documents travels with the answer, from the question to the hit."""

from __future__ import annotations

import pytest

from libs.values import CacheControl, Question
from libs.values.retrieval import Document, TextFormat
from tests.support.corpus import FACTS, TENANT
from tests.support.mesh import Mesh
from tests.support.waiting import until

FACT = FACTS[0]


async def is_hit(mesh: Mesh, policy: str) -> bool:
    asked = Question(
        TENANT, FACT.question, policy=policy, cache_control=CacheControl.ONLY_IF_CACHED
    )
    return bool((await mesh.ask(asked)).layer)


async def keep(mesh: Mesh, policy: str) -> None:
    await mesh.ask(Question(TENANT, FACT.question, policy=policy))
    await until(lambda: is_hit(mesh, policy))


async def store(mesh: Mesh, document_id: str, text: str) -> None:
    document = Document(document_id, text, TextFormat.PLAIN, title=document_id)
    written = await mesh.retrieval.upsert(TENANT, "default", [document])
    await until(lambda: _has_heard(mesh, written.index_version))


async def _has_heard(mesh: Mesh, version: int) -> bool:
    return (await mesh.cache.stats(TENANT)).index_version >= version


@pytest.mark.parametrize(
    ("policy", "after_new", "after_changed"),
    [("careful", False, False), ("interactive", True, False), ("careless", True, True)],
)
async def test_a_new_and_a_changed_document_end_what_the_policy_says(
    mesh: Mesh, policy: str, *, after_new: bool, after_changed: bool
) -> None:
    await keep(mesh, policy)
    await store(mesh, "mill", "The mill on the river grinds nothing but oats.")
    assert await is_hit(mesh, policy) is after_new
    await store(mesh, FACT.name, FACT.text.replace("Elisa Moor", "Hanna Lind"))
    assert await is_hit(mesh, policy) is after_changed


async def test_what_a_careless_policy_kept_is_not_for_another(mesh: Mesh) -> None:
    await keep(mesh, "careless")
    assert await is_hit(mesh, "interactive")
    await store(mesh, FACT.name, FACT.text.replace("Elisa Moor", "Hanna Lind"))
    assert await is_hit(mesh, "careless")
    assert not await is_hit(mesh, "interactive")


async def test_a_document_stored_again_as_it_was_ends_nothing(mesh: Mesh) -> None:
    await keep(mesh, "careful")
    written = await mesh.retrieval.upsert(TENANT, "default", [each.document for each in FACTS])
    await until(lambda: _has_heard(mesh, written.index_version))
    assert await is_hit(mesh, "careful")
