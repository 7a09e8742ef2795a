"""The decision on reuse in a replica: cheap stages first, then the verifier, and else a miss."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from libs.values.cache import AskedQuestion, Lookup
from services.cache.decision import Judgement
from services.cache.finder import Finder
from services.cache.judging.calibration import Calibration, Logistic, log_odds
from services.cache.judging.features import NAMES
from services.cache.judging.reuse import Verifier
from services.cache.reasons import Reason
from services.cache.reuse import Reuse
from tests.unit.cache.parts import (
    MODEL,
    Parts,
    at_similarity,
    draft,
    replica_parts,
    semantic,
)

STORED = "How long does a transfer take?"
REWORDED = "What time is needed for a transfer?"


class Says:
    """A verifier with one opinion, that counts how often it was asked."""

    def __init__(self, *scores: float) -> None:
        self.scores = scores
        self.asked: list[tuple[str, str]] = []

    async def score(self, pairs: Sequence[tuple[str, str]]) -> Sequence[float] | None:
        self.asked += pairs
        return self.scores or None


def fitted(low: float = 0.05, target: float = 0.8) -> Calibration:
    """Return data by which only the number rules cheaply, and only the verifier counts."""
    cheap = np.zeros(len(NAMES))
    cheap[NAMES.index("numbers")] = -10.0
    verified = np.append(np.zeros(len(NAMES)), 1.0)
    return Calibration(
        fingerprints=frozenset((MODEL,)),
        scorers=frozenset(),
        floor=0.7,
        target=target,
        short_words=14,
        caution=0.0,
        low=low,
        cheap=Logistic(cheap, 0.5),
        verified=Logistic(verified, 0.0),
        told=Logistic(verified, 0.0),
    )


@pytest.fixture
async def parts(redis_url: str) -> AsyncIterator[Parts]:
    async with replica_parts(redis_url) as found:
        await found.keeper.keep(draft(STORED))
        yield found


async def looked_up(
    parts: Parts, verifier: Verifier | None, question: str = REWORDED, **more: Any
) -> Judgement:
    cosine = more.pop("cosine", 0.8)
    reuse = Reuse(0.92, fitted(), verifier, more.pop("target", None))
    finder = Finder(
        parts.store, parts.replica, parts.freshness, floor=0.92, reuse=reuse, clock=parts.clock
    )
    lookup: Lookup = semantic(at_similarity(cosine), asked=AskedQuestion(question))
    return await finder.find(replace(lookup, **more))


async def test_a_rewording_far_below_the_plain_floor_is_served_once_verified(parts: Parts) -> None:
    found = await looked_up(parts, Says(0.97))
    assert found.reason is Reason.OK
    assert found.probability == pytest.approx(0.97)


async def test_what_the_verifier_does_not_believe_is_a_miss(parts: Parts) -> None:
    found = await looked_up(parts, Says(0.6), cosine=0.99)
    assert (found.reason, found.entry) == (Reason.BELOW_TARGET, None)
    assert found.probability == pytest.approx(0.6)


async def test_a_policy_may_be_content_with_less(parts: Parts) -> None:
    assert (await looked_up(parts, Says(0.6), target=0.5)).entry is not None
    assert (await looked_up(parts, Says(0.01), target=0.0)).entry is not None


@pytest.mark.parametrize("verifier", [None, Says()])
async def test_without_a_word_from_the_verifier_it_is_a_miss(
    parts: Parts, verifier: Says | None
) -> None:
    found = await looked_up(parts, verifier, cosine=0.99)
    assert (found.reason, found.entry) == (Reason.NOT_VERIFIED, None)


async def test_a_number_that_differs_is_refused_without_the_verifier(parts: Parts) -> None:
    await parts.keeper.keep(draft("How long do 3 transfers take?", entry_id="run-2"))
    verifier = Says(0.99)
    found = await looked_up(parts, verifier, "How long do 5 transfers take?", cosine=0.99)
    assert "How long do 3 transfers take?" not in [stored for _, stored in verifier.asked]
    assert Reason.FACTS_DIFFER in [reason for _, reason in found.refused] or found.entry


async def test_the_same_words_need_no_verifier(parts: Parts) -> None:
    found = await looked_up(parts, None, "how long does a transfer take", cosine=0.99)
    assert found.reason is Reason.OK


async def test_a_caller_may_raise_the_floor_of_candidates(parts: Parts) -> None:
    found = await looked_up(parts, Says(0.99), min_similarity=0.9)
    assert found.reason is Reason.BELOW_FLOOR


@pytest.mark.parametrize(
    "question", ["Transfer 100 euros to Anna", "How long do transfers take right now?"]
)
async def test_what_is_nobody_elses_is_not_even_looked_for(parts: Parts, question: str) -> None:
    verifier = Says(0.99)
    found = await looked_up(parts, verifier, question, cosine=0.99)
    assert (found.reason, verifier.asked) == (Reason.NOT_SHARED, [])


async def test_an_answer_of_the_moment_serves_nobody_else(parts: Parts) -> None:
    await parts.keeper.keep(draft("Is the bank open today?", entry_id="run-2"))
    found = await looked_up(parts, Says(0.0), "Is the bank open?", cosine=0.99)
    assert found.entry is None


async def test_for_another_model_the_plain_floor_applies(parts: Parts) -> None:
    reuse = Reuse(0.92, replace(fitted(), fingerprints=frozenset(("model-2",))), Says(0.0))
    finder = Finder(
        parts.store, parts.replica, parts.freshness, floor=0.92, reuse=reuse, clock=parts.clock
    )
    asked = AskedQuestion(REWORDED)
    near = await finder.find(semantic(at_similarity(0.93), asked=asked))
    far = await finder.find(semantic(at_similarity(0.91), asked=asked))
    assert (near.reason, far.reason) == (Reason.OK, Reason.BELOW_FLOOR)
    assert near.probability is None


async def test_the_verifier_is_asked_twice_at_most(parts: Parts) -> None:
    for number in range(6):
        await parts.keeper.keep(draft(f"{STORED} ({number})", entry_id=f"run-{number + 2}"))
    verifier = Says(0.1)
    await looked_up(parts, verifier)
    assert len(verifier.asked) == 2


def test_the_log_odds_of_certainty_are_finite() -> None:
    assert np.isfinite([log_odds(0.0), log_odds(1.0)]).all()
