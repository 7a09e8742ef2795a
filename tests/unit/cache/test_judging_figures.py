"""What the card says of the shipped decision, held against the data where that is at hand."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from cli.calibrate.figures import labelled_sets, outcomes
from cli.pairing import rates
from services.cache.judging.calibration import Calibration
from services.cache.judging.eligibility import unshared
from services.cache.judging.reuse import cheap_opinion
from services.embedding.build.adapter import ADAPTERS, Adapter

DATA = os.environ.get("HASTEN_EVAL_DATA", "")

needs_data = pytest.mark.skipif(not DATA, reason="HASTEN_EVAL_DATA is not set")


def test_the_adapter_that_ships_is_named_small_and_for_the_weights_that_are_fetched() -> None:
    path = ADAPTERS / "same_answer.safetensors"
    adapter = Adapter.read(path)
    assert adapter.name == "same_answer"
    assert path.stat().st_size < 1_500_000


@needs_data
def test_no_deed_and_nothing_of_the_moment_is_shared_among_the_banking_traps() -> None:
    pairs = labelled_sets(Path(DATA))["banking traps"]
    trapped = [pair for pair in pairs if pair.kind in {"ACTION", "FRESHNESS"}]
    assert trapped
    assert all(unshared(pair.a) or unshared(pair.b) for pair in trapped)


@needs_data
def test_without_the_verifier_nothing_is_reused_wrongly() -> None:
    calibration = Calibration.shipped()
    for pairs in labelled_sets(Path(DATA)).values():
        unsure = [0.0] * len(pairs)
        found = outcomes(calibration, pairs, [0.99] * len(pairs), unsure)
        assert rates(found, lambda each: each.hit).false_reuse == pytest.approx(0.0, abs=0.005)


@needs_data
@pytest.mark.prove
def test_the_cheap_stages_take_less_than_a_millisecond_for_four_candidates() -> None:
    calibration, pairs = Calibration.shipped(), labelled_sets(Path(DATA))["CheckList"]
    took_ms = []
    for start in range(0, 4_000, 4):
        begun_s = time.perf_counter()
        for pair in pairs[start : start + 4]:
            cheap_opinion(calibration, pair.b, pair.a, 0.9, calibration.target)
        took_ms.append(1e3 * (time.perf_counter() - begun_s))
    p50, p99 = np.quantile(took_ms, (0.5, 0.99))
    print(f"cheap stages, four candidates: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    assert p50 <= 1
    assert p99 <= 3
