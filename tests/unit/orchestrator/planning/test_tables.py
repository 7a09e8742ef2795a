import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.resilience.distribution import Distribution
from libs.resilience.grid import EDGES
from services.orchestrator.planning.ladder import Ladder
from services.orchestrator.planning.lefts import LEFTS_S
from services.orchestrator.planning.tables import Node, Stage, TextStage
from tests.unit.orchestrator.planning.ladders import (
    BEST,
    EMBED,
    FULL,
    SAFE,
    SEARCH,
    Latencies,
    ladders,
    lefts_s,
    straggling,
    tables,
    usual,
    worlds,
)

few = settings(max_examples=15, deadline=None)


def nodes(node: Node | None) -> Iterator[Node]:
    if node is None:
        return
    yield node
    if isinstance(node, Stage):
        yield from nodes(node.then)
        yield from nodes(node.without)


def stages(node: Node) -> list[Stage]:
    return [each for each in nodes(node) if isinstance(each, Stage)]


def text_of(node: Node) -> TextStage:
    return next(each for each in nodes(node) if isinstance(each, TextStage))


def drawn(latency: Distribution, random: np.random.Generator, count: int) -> list[float]:
    below, chance = np.cumsum(latency.masses[:-1]), random.random(count)
    takes_s = np.interp(chance, below, EDGES)
    found: list[float] = np.where(chance > below[-1], math.inf, takes_s).tolist()
    return found


def lived(node: Node, latencies: Latencies, left_s: float, count: int) -> tuple[float, float]:
    """Return mean loss and share in time of requests that follow the tables."""
    random = np.random.default_rng(7)
    draws = {key: drawn(each, random, count) for key, each in latencies.items()}
    again = {key: drawn(each, random, count) for key, each in latencies.items()}
    losses, mets = 0.0, 0
    for number in range(count):
        loss, rest_s, at = 0.0, left_s, node
        while isinstance(at, Stage):
            step = at.step
            if not at.is_done(rest_s):
                loss, at = loss + (step.skip_loss or 0.0), at.without or at.then
                continue
            limit_s, takes_s = at.limit_s(rest_s), draws[step.hop, step.rung][number]
            rest_s -= min(takes_s, limit_s)
            if takes_s <= limit_s:
                at = at.then
            elif step.cut_loss is None:
                rest_s = -1.0
                at = at.then
            else:
                loss, at = loss + step.cut_loss, at.without or at.then
        writing = at.decide(max(rest_s, 0.0))
        rung = writing.writer.rung
        first_s, after_s = draws["model", rung][number], writing.hedge_after_s
        second_s = math.inf
        if after_s < first_s and after_s < rest_s:
            second_s = after_s + again["model", "fast"][number]
            loss += 0.03 + 0.01 * (second_s < min(first_s, rest_s))
        is_met = min(first_s, second_s) <= rest_s
        loss += writing.writer.loss
        mets += is_met
        losses += min(1.0, loss) if is_met else 1.0
    return losses / count, mets / count


@pytest.mark.parametrize("left_s", [0.3, 0.45, 0.6, 1.0])
def test_tables_promise_what_comes_of_following_them(left_s: float) -> None:
    node, latencies = tables(FULL), usual()
    loss, met = lived(node, latencies, left_s, 20_000)
    assert node.outlook.met_at(left_s) == pytest.approx(met, abs=0.015)
    assert node.outlook.loss_at(left_s) == pytest.approx(loss, abs=0.015)


@pytest.mark.parametrize("cut_s", [0.02, 0.05, 0.1, 0.2, 0.4])
def test_no_other_limit_is_better_than_the_one_of_the_tables(cut_s: float) -> None:
    ladder = Ladder((SEARCH,), "model", (BEST,))
    node, left_s = tables(ladder), 0.5
    assert isinstance(node, Stage)
    random, count = np.random.default_rng(3), 40_000
    search = np.array(drawn(usual()["search", ""], random, count))
    model = np.array(drawn(usual()["model", "best"], random, count))
    is_cut = search > cut_s
    is_late = np.minimum(search, cut_s) + model > left_s
    loss = float(np.where(is_late, 1.0, 0.02 * is_cut).mean())
    assert node.outlook.loss_at(left_s) <= loss + 0.006


@few
@given(ladder=ladders, world=worlds, left_s=lefts_s)
def test_a_limit_is_within_the_time_left(ladder: Ladder, world: Latencies, left_s: float) -> None:
    assert all(0 <= each.limit_s(left_s) <= left_s for each in stages(tables(ladder, world)))


@few
@given(ladder=ladders, world=worlds, times_s=st.lists(lefts_s, min_size=2, max_size=20))
def test_less_time_never_means_a_longer_limit(
    ladder: Ladder, world: Latencies, times_s: list[float]
) -> None:
    rising = sorted(times_s)
    for stage in stages(tables(ladder, world)):
        limits_s = [stage.limit_s(each) for each in rising]
        assert limits_s == sorted(limits_s)


@few
@given(ladder=ladders, world=worlds)
def test_more_time_never_means_a_lesser_way(ladder: Ladder, world: Latencies) -> None:
    node = tables(ladder, world)
    for stage in stages(node):
        done = [stage.is_done(left_s) for left_s in LEFTS_S]
        assert done == sorted(done)
    text = text_of(node)
    numbers = [text.writers.index(text.decide(left_s).writer) for left_s in LEFTS_S]
    assert numbers == sorted(numbers, reverse=True)


@few
@given(ladder=ladders, world=worlds)
def test_a_promise_is_a_probability(ladder: Ladder, world: Latencies) -> None:
    for node in nodes(tables(ladder, world)):
        met = node.outlook.met
        assert met.min() >= -1e-9
        assert met.max() <= 1 + 1e-9


@few
@given(ladder=ladders, world=worlds)
def test_more_time_never_means_a_greater_loss(ladder: Ladder, world: Latencies) -> None:
    # To within what the tables' own grain makes of it.
    loss = tables(ladder, world).outlook.loss
    assert np.diff(loss).max() <= 0.02


@few
@given(ladder=ladders, world=worlds, left_s=lefts_s)
def test_moments_of_a_text_are_in_order(ladder: Ladder, world: Latencies, left_s: float) -> None:
    writing = text_of(tables(ladder, world)).decide(left_s)
    assert 0 <= writing.give_up_after_s <= left_s
    assert writing.hedge_after_s == math.inf or writing.hedge_after_s <= max(
        writing.give_up_after_s, 0.0
    )


@few
@given(factors=st.lists(st.floats(0.98, 1.02), min_size=2, max_size=6), left_s=st.floats(0.2, 1))
def test_small_changes_do_not_turn_plans_to_and_fro(factors: list[float], left_s: float) -> None:
    node, turns, was = tables(SAFE), 0, None
    for factor in [*factors, *factors]:
        node = tables(SAFE, usual(factor), node)
        plan = (tuple(each.is_done(left_s) for each in stages(node)), text_of(node).decide(left_s))
        found = (plan[0], plan[1].writer.rung)
        turns += was is not None and found != was
        was = found
    assert turns <= 1


def test_a_hop_that_may_freeze_never_gets_all_the_time_when_there_is_another_way() -> None:
    world = usual()
    world["search", ""] = straggling(0.035).mixed(Distribution.never(), 0.0005)
    search = next(each for each in stages(tables(FULL, world)) if each.step.hop == "search")
    # The fast model needs some 0.2 s after it.
    assert search.limit_s(0.6) < 0.45


def test_without_another_way_a_step_may_take_what_the_rest_does_not_need() -> None:
    ladder = Ladder((EMBED,), "model", (BEST,))
    node = tables(ladder)
    assert isinstance(node, Stage)
    assert 0.3 < node.limit_s(0.6) < 0.6


def test_a_second_call_waits_until_it_can_just_still_make_it() -> None:
    writing = text_of(tables(FULL)).decide(0.5)
    # 95 in 100 fast calls take less than 0.2 s.
    assert 0.25 < writing.hedge_after_s < 0.45
    assert writing.give_up_after_s == 0.5


def test_a_second_call_moves_with_the_end_between_two_entries_of_the_table() -> None:
    text = text_of(tables(FULL))
    one, other = text.decide(0.5001), text.decide(0.5002)
    assert other.hedge_after_s - one.hedge_after_s == pytest.approx(0.0001)


def test_a_dearer_call_is_made_later_and_one_without_price_limit_never() -> None:
    moments_s = [
        text_of(tables(FULL.priced(price))).races[0].hedge_after_s(0.5) for price in (1.0, 4.0)
    ]
    assert moments_s[0] <= moments_s[1]
    assert text_of(tables(FULL.priced(math.inf))).races[0].hedge_after_s(0.5) == math.inf
    assert FULL.priced(1.0) is FULL


def test_a_model_that_is_down_is_given_up_for_the_stand_in() -> None:
    world = usual()
    for rung in ("best", "fast"):
        world["model", rung] = Distribution.never()
    node = tables(SAFE, world)
    assert node.outlook.met_at(0.6) > 0.97
    assert text_of(node).decide(0.6).writer.rung == "stand-in"


def test_where_everything_is_far_too_slow_nothing_is_promised() -> None:
    assert tables(FULL, usual(100.0)).outlook.met_at(0.3) < 0.001


def test_a_lesser_way_after_a_lost_hop_has_its_own_latencies() -> None:
    lookup = replace(SEARCH, needs="embed", rung="dense", lesser_rung="words", partial_rung="words")
    embed = replace(EMBED, skip_loss=0.05, cut_loss=0.05)
    world = usual()
    world["search", "dense"] = straggling(0.3)
    world["search", "words"] = straggling(0.005)
    node = tables(Ladder((embed, lookup), "model", (BEST,)), world)
    assert isinstance(node, Stage)
    assert node.is_done(2.0)
    assert not node.is_done(0.35)
    assert isinstance(node.without, Stage)
    assert node.without.step.rung == "words"
