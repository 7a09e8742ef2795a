"""What a run sets out to do, by its policy, its models and its time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.config import ConfigError
from libs.resilience.sketches import Sketches
from libs.values import ModelTier, Quality
from services.orchestrator.course import Course, Courses
from services.orchestrator.plan import (
    EMBEDDING,
    GENERATION,
    PROMPT,
    RETRIEVAL,
    SEMANTIC,
    ladder_of,
    prior_of,
)
from services.orchestrator.policy import Policy, load_policies

ALL = (ModelTier.BEST, ModelTier.FAST, ModelTier.EXTRACTIVE)
POLICY = Policy("interactive")


def courses() -> Courses:
    return Courses(Sketches(None, time.monotonic), time.monotonic)


def course(
    tiers: tuple[ModelTier, ...] = ALL,
    minimum: Quality = Quality.UNSPECIFIED,
    *,
    reads: bool = True,
    policy: Policy = POLICY,
) -> Course:
    ladder = ladder_of(policy, tiers, minimum, reads=reads)
    return courses().course(ladder, prior_of(policy.costs))


PLANNED = course()


def test_with_time_enough_the_plan_is_the_whole_way() -> None:
    outline = PLANNED.outline(2.0)
    assert outline.rungs.quality is Quality.FULL
    assert [hop.hop for hop in outline.hops] == [
        EMBEDDING,
        SEMANTIC,
        RETRIEVAL,
        PROMPT,
        GENERATION,
    ]
    assert outline.promised > 0.98


def test_who_does_not_read_the_cache_makes_no_lookups() -> None:
    outline = course(reads=False).outline(2.0)
    assert [hop.hop for hop in outline.hops] == [EMBEDDING, RETRIEVAL, GENERATION]


@given(less=st.floats(0, 5), more=st.floats(0, 5))
def test_more_time_never_means_a_lesser_plan(less: float, more: float) -> None:
    less, more = sorted((less, more))
    lesser, better = PLANNED.outline(less), PLANNED.outline(more)
    assert lesser.rungs.quality <= better.rungs.quality


@given(left_s=st.floats(0, 60))
def test_nobody_is_granted_more_than_is_left(left_s: float) -> None:
    for hop in PLANNED.outline(left_s).hops:
        assert 0 <= hop.limit_s <= left_s


def test_what_is_below_the_least_quality_is_in_no_plan() -> None:
    picky = course(minimum=Quality.FULL)
    for left_s in (0.01, 0.1, 0.5, 2.0):
        assert picky.outline(left_s).rungs.quality is Quality.FULL


def test_without_a_model_the_passages_are_the_best_there_is() -> None:
    outline = course((ModelTier.EXTRACTIVE,)).outline(2.0)
    assert outline.rungs.quality is Quality.EXTRACTIVE
    assert outline.hops[-1].hedge_after_s is None


def test_a_hop_that_never_fails_is_still_not_given_all_of_the_time() -> None:
    run = course()
    for _ in range(1000):
        run.learn(EMBEDDING, "one", 0.01, False)
    assert run.limit_s(EMBEDDING, 2.0) < 1.0


def test_a_slower_model_is_asked_for_less() -> None:
    kept = courses()
    ladder, prior = ladder_of(POLICY, ALL, Quality.UNSPECIFIED, reads=True), prior_of(POLICY.costs)
    before = kept.course(ladder, prior).outline(1.0).rungs.quality
    for _ in range(500):
        kept.course(ladder, prior).learn(GENERATION, "best", 3.0, False)
        kept.course(ladder, prior).learn(GENERATION, "fast", 0.2, False)
    fresh = courses_over(kept)
    after = fresh.course(ladder, prior).outline(1.0).rungs.quality
    assert (before, after) == (Quality.FULL, Quality.FAST)


def courses_over(kept: Courses) -> Courses:
    """Return courses that know the same and have made no tables yet."""
    return Courses(kept.sketches, time.monotonic)


def test_one_lesser_choice_in_twenty_tries_the_better_one() -> None:
    kept = courses()
    ladder, prior = ladder_of(POLICY, ALL, Quality.UNSPECIFIED, reads=True), prior_of(POLICY.costs)
    begun = sum(kept.course(ladder, prior).begins(EMBEDDING, 0.001) for _ in range(200))
    assert begun == 10


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ("[odd]\nfirst_text_s = 0.2\n", "costs.model_first_text"),
        ("[odd.costs]\nretrieval = -1.0\n", "costs.retrieval"),
        ("[odd.costs]\nretrieval = 0.0\n", "costs.retrieval"),
        ("[odd.costs]\nrerank = 1.0\n", "costs.rerank"),
        ("[odd.losses]\nlexical = 1.5\n", "losses.lexical"),
        ("[odd.losses]\nspeed = 0.5\n", "losses.speed"),
        ("[odd]\nend_s = 1.0\n", "end_s"),
        ('[odd]\nprompt_cache = "all"\n', "prompt_cache"),
        ("[odd]\ncollection_tokens = 0\n", "collection_tokens"),
        ('[odd]\nprovenance = "always"\n', "provenance"),
        ("[odd]\nprovenance = 1\n", "provenance"),
        ("[odd]\nwrong_hit_allowance = 0\n", "wrong_hit_allowance"),
        ("[odd]\nwrong_hit_allowance = 1.5\n", "wrong_hit_allowance"),
        ('[odd]\nfallback = "later"\n', "fallback"),
        ('[odd]\noutline = " "\n', "outline"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_its_fields_name(
    table: str, field: str, tmp_path: object
) -> None:
    path = tmp_path / "policies.toml"  # type: ignore[operator]
    path.write_text(table)
    with pytest.raises(ConfigError, match=field):
        load_policies(path)


def test_three_policies_are_always_there() -> None:
    policies = load_policies(None)
    waits = [policies.named(name).first_text_s for name in ("interactive", "patient", "background")]
    assert waits == sorted(waits)


def test_a_model_that_may_be_late_reads_fewer_passages_first() -> None:
    found = [PLANNED.outline(left_s / 100).rungs.quality for left_s in range(1, 300)]
    assert Quality.BRIEF in found
    assert found.index(Quality.FAST) < found.index(Quality.BRIEF) < found.index(Quality.FULL)


def test_what_fewer_passages_take_follows_what_all_of_them_take() -> None:
    """Else a rung that was never tried would look quick for ever beside one that is known."""
    kept = courses()
    ladder, prior = ladder_of(POLICY, ALL, Quality.UNSPECIFIED, reads=True), prior_of(POLICY.costs)
    for _ in range(500):
        kept.course(ladder, prior).learn(GENERATION, "best", 3.0, False)
    fresh = courses_over(kept)
    assert fresh.course(ladder, prior).outline(1.5).rungs.quality is Quality.FAST


def test_with_one_passage_there_are_no_fewer() -> None:
    single = course(policy=Policy("single", passages=1))
    found = {single.outline(left_s / 100).rungs.quality for left_s in range(1, 300)}
    assert Quality.BRIEF not in found
