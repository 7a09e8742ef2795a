"""The figures of docs/time.md: wide bounds on a few requests here, exact ones when proven."""

import time
from dataclasses import replace

import pytest

from cli.simulate.running import PLANNER, Case, Result, curve, run, simulate
from cli.simulate.scenario import Change, Scenario, load
from cli.simulate.terms import Learning, Terms
from services.orchestrator.planning.calibration import Calibration

NO_SPLIT, HARD = "no split", "hard shares"
DROPPED, ELAPSED = "naive p95, cut dropped", "naive p95, cut as elapsed"
CAPACITY_PER_S = 20 / 0.1992  # places by the mean of a lognormal of median 0.18 s, sigma 0.45


def small(name: str, requests: int = 2_000) -> Scenario:
    return replace(load(name), requests=requests)


def found(scenario: Scenario, way: str = PLANNER, terms: Terms | None = None) -> Result:
    return simulate([Case(scenario, way, terms)], [1], workers=1)[0]


def mean(result: Result, name: str) -> float:
    return result.figures[name][0]


def test_the_planner_beats_every_fixed_way_with_stragglers() -> None:
    scenario = small("stragglers")
    ours = found(scenario)
    assert mean(ours, "miss") <= 0.01
    assert mean(ours, "degraded") <= 0.16
    assert mean(ours, "extra") <= 0.20
    assert mean(found(scenario, NO_SPLIT), "miss") > 0.04
    assert mean(found(scenario, HARD), "miss") > 0.2


def test_limits_that_feed_on_themselves_run_away_and_the_planner_does_not() -> None:
    scenario = load("latency_doubles")
    assert mean(found(scenario), "miss") <= 0.05
    assert mean(found(scenario, DROPPED), "miss") > 0.7
    assert mean(found(scenario, ELAPSED), "miss") > 0.25


def promised_too_much(learning: Learning) -> float:
    """Return promise less outcome, long after a hop became slower than its callers are patient."""
    scenario = replace(
        load("latency_doubles"),
        first_text_ms=100,
        half_life_s=15,
        requests=6_000,
        changes=(Change("hop", since=0.4, factor=2.2),),
    )
    _, tally = run(Case(scenario, terms=Terms(learning=learning)), 1)
    last = tally.outcomes[-1_000:]
    return sum((each.promised or 0.0) - each.in_time for each in last) / len(last)


def test_a_planner_that_does_not_learn_from_cut_calls_promises_what_it_cannot_keep() -> None:
    assert abs(promised_too_much(Learning.CUT)) < 0.06
    assert promised_too_much(Learning.DROPPED) > 0.2
    assert promised_too_much(Learning.ELAPSED) > 0.2


def test_overload_is_turned_away_at_once_and_the_rest_is_served() -> None:
    scenario = small("overload", 4_000)
    ours = found(scenario)
    assert mean(ours, "goodput_per_s") > 0.8 * CAPACITY_PER_S
    assert mean(ours, "told_s") <= 0.01
    assert mean(ours, "late") < 0.03
    all_in = found(scenario, terms=Terms(admits_all=True))
    assert mean(all_in, "goodput_per_s") < 0.3 * CAPACITY_PER_S


def test_an_outage_of_the_provider_is_covered_by_the_passages() -> None:
    scenario = small("provider_outage")
    assert mean(found(scenario), "miss") < 0.01
    assert mean(found(scenario, NO_SPLIT), "miss") == 1


def test_extra_calls_are_never_more_than_the_allowance() -> None:
    scenario = small("mixed_patience")
    for share in (0.0, 0.05, 0.2):
        terms = Terms(share=share, call_loss=0.001)
        _, tally = run(Case(scenario, terms=terms), 3)
        assert sum(each.extra for each in tally.outcomes) <= 20 + share * scenario.requests


def test_promises_hold_for_callers_of_every_patience() -> None:
    assert found(small("mixed_patience", 4_000)).calibration.worst_gap(300) < 0.09


def test_a_cold_mesh_three_times_slower_than_its_targets_is_learned_at_once() -> None:
    assert mean(found(load("cold_start")), "miss") < 0.04


def test_the_same_seeds_give_the_same_figures() -> None:
    scenario = small("stragglers", 500)
    assert found(scenario).figures["miss"][0] == found(scenario).figures["miss"][0]


def test_processes_give_what_one_process_gives() -> None:
    cases = [Case(small("stragglers", 300)), Case(small("stragglers", 300), NO_SPLIT)]
    ticks: list[int] = []
    spread = simulate(cases, [1, 2], lambda: ticks.append(1), workers=2)
    alone = simulate(cases, [1, 2], workers=1)
    assert [each.figures for each in spread] == [each.figures for each in alone]
    assert len(ticks) == 4


def test_the_curve_goes_from_few_extra_calls_to_many() -> None:
    cases = [curve(small("stragglers", 1_500))[at] for at in (0, -1)]
    few, many = simulate(cases, [1], workers=1)
    assert mean(few, "extra") < mean(many, "extra")


# As proven: 20 seeds, which are not those that the terms were chosen with (100 to 115).
SEEDS = range(20)


def proven(name: str, *ways: str) -> list[Result]:
    results = simulate([Case(load(name), way) for way in ways], SEEDS)
    for each in results:
        told = {key: f"{one:.4f} +-{margin:.4f}" for key, (one, margin) in each.figures.items()}
        print(each.scenario, each.way, told, f"gap {each.calibration.worst_gap():.4f}")
    return results


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_proof_stragglers() -> None:
    ours, no_split, hard, dropped = proven("stragglers", PLANNER, NO_SPLIT, HARD, DROPPED)
    assert mean(ours, "miss") <= 0.003
    assert mean(ours, "degraded") <= 0.12
    assert mean(ours, "extra") <= 0.15
    assert mean(no_split, "miss") == pytest.approx(0.06, abs=0.005)
    assert mean(hard, "miss") > 0.2
    assert mean(dropped, "miss") > 0.3


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_proof_latency_doubles() -> None:
    ours, dropped, elapsed = proven("latency_doubles", PLANNER, DROPPED, ELAPSED)
    assert mean(ours, "miss") <= 0.05
    assert mean(dropped, "miss") > 0.8
    assert mean(elapsed, "miss") > 0.3


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_proof_overload() -> None:
    (ours,) = proven("overload", PLANNER)
    assert mean(ours, "goodput_per_s") >= 0.9 * CAPACITY_PER_S
    assert mean(ours, "told_s") <= 0.01
    # Not more than one in a hundred of those let in is late: their p99 is within the budget.
    assert mean(ours, "late") <= 0.01


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_proof_calibration() -> None:
    pooled = Calibration()
    names = ("steady", "stragglers", "slow_replica", "cold_start", "provider_outage")
    for name in (*names, "overload", "latency_doubles"):
        pooled.merge(proven(name, PLANNER)[0].calibration)
    (mixed,) = proven("mixed_patience", PLANNER)
    pooled.merge(mixed.calibration)
    assert mixed.calibration.worst_gap(500) <= 0.03
    assert pooled.worst_gap(500) <= 0.03


@pytest.mark.prove
def test_proof_ten_thousand_requests_take_less_than_five_seconds() -> None:
    began_s = time.perf_counter()
    run(Case(load("stragglers")), 1)
    took_s = time.perf_counter() - began_s
    print(f"10,000 requests took {took_s:.2f} s")
    assert took_s < 5
