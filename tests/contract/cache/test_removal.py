"""Answers are removed by what matches, and by reports."""

from __future__ import annotations

from typing import Any

import pytest

from libs.clients.cache import CacheClient
from libs.values import Verdict
from libs.values.cache import (
    AskedOf,
    AskedQuestion,
    BuiltFrom,
    Everything,
    OlderThan,
    Selector,
    WithTag,
    WrittenBy,
)
from tests.contract.cache.parts import PROMPT, until_decided
from tests.unit.cache.parts import Documents, answer, built_from, decided, exact, prompted, semantic


@pytest.mark.parametrize(
    ("selector", "removed"),
    [
        (Everything(), {"a", "b", "c"}),
        (WithTag("red"), {"a", "b"}),
        (WithTag("re"), set()),
        (AskedOf("plays"), {"a"}),
        (AskedOf(""), {"c"}),
        (BuiltFrom("plays", "hamlet"), {"a"}),
        (BuiltFrom("poems", "hamlet"), {"b"}),
        (BuiltFrom("plays", "macbeth"), set()),
        (WrittenBy("model-b"), {"b"}),
        (WrittenBy("model"), set()),
        (OlderThan(0.0), {"a", "b", "c"}),
        (OlderThan(3600.0), set()),
    ],
)
async def test_exactly_the_answers_that_match_are_removed(
    cache: CacheClient,
    replica: CacheClient,
    documents: Documents,
    selector: Selector,
    removed: set[str],
) -> None:
    version = documents.change("hamlet")
    documents.change("hamlet", collection="poems")
    asked = {
        "a": AskedQuestion("A?", collection="plays"),
        "b": AskedQuestion("B?", collection="poems"),
        "c": AskedQuestion("C?"),
    }
    more: dict[str, dict[str, Any]] = {
        "a": {"tags": ("red", "blue"), **built_from("hamlet", version)},
        "b": {
            "tags": ("red",),
            "model": "model-b",
            **built_from("hamlet", version + 1, "poems"),
        },
        "c": {},
    }
    for name, question in asked.items():
        stored = await cache.store(answer(asked=question, entry_id=name, **more[name]))
        assert stored.stored
    await cache.store(answer(tenant_id="rival", tags=("red",), asked=asked["a"]))
    await until_decided(replica, semantic(asked=asked["c"]), "OK")
    assert (await cache.invalidate("acme", selector)).count == len(removed)
    for each in (cache, replica):
        for name, question in asked.items():
            gone = name in removed
            assert (await decided(each, exact(asked=question))).hit is not gone
            assert (await decided(each, semantic(asked=question))).hit is not gone
        assert (await decided(each, exact(asked=asked["a"], tenant_id="rival"))).hit
    assert (await cache.invalidate("acme", selector)).count == 0


async def test_a_bad_answer_is_gone_everywhere_at_once(
    cache: CacheClient, replica: CacheClient
) -> None:
    await cache.store(answer(prompt_sha256=PROMPT))
    await until_decided(replica, semantic(), "OK")
    assert (await cache.report("acme", "run-1", Verdict.BAD)).removed
    for each in (cache, replica):
        for lookup in (exact(), prompted(PROMPT), semantic()):
            assert (await decided(each, lookup)).reason == "NOT_FOUND"
    assert not (await cache.report("acme", "run-1", Verdict.BAD)).removed


async def test_a_good_answer_stays_and_a_strangers_verdict_counts_for_nothing(
    cache: CacheClient,
) -> None:
    await cache.store(answer())
    assert not (await cache.report("acme", "run-1", Verdict.GOOD)).removed
    assert not (await cache.report("rival", "run-1", Verdict.BAD)).removed
    assert not (await cache.report("acme", "run-2", Verdict.BAD)).removed
    assert (await decided(cache, exact())).hit
