"""The real mesh and the virtual-time test-bed, under the same latencies, tell the same story.

The band was stated before the first run: both see real scheduling differently, and a few
hundred questions are few.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from cli.simulate.running import Case, simulate
from cli.simulate.scenario import Hop, Scenario, Text
from cli.simulate.terms import Terms
from libs.values import CacheControl, Quality, Question
from services.generation.config import GenerationConfig
from services.orchestrator.policy import Losses
from tests.support.corpus import TENANT, other
from tests.support.mesh import Mesh, Setting, open_mesh
from tests.support.provider.server import Provider
from tests.support.traffic import Delays, Traffic

QUESTIONS = 400
IN_PARALLEL = 4
FIRST_TEXT_S = 0.600
MODEL_MEDIAN_S, MODEL_SIGMA = 0.180, 0.45
FAST_FACTOR = 0.45
HOP_MEDIAN_S, HOP_SIGMA = 0.030, 0.5
# How far the mesh may be from the simulation: late answers, and lesser answers.
LATE_BAND, LESSER_BAND = 0.03, 0.10

# It expects of the hops what they are made to take, as the test-bed does.
_POLICY = "simulated"


class Lognormal(Delays):
    """Slows each call as the simulated hop is."""

    def next(self) -> float:
        return self._random.lognormvariate(math.log(HOP_MEDIAN_S), HOP_SIGMA)


@dataclass(frozen=True)
class Shares:
    """Of the questions, those late and those answered below the full quality."""

    late: float
    lesser: float


@pytest.fixture
async def mesh(
    redis_url: str,
    model_dir: Path,
    tmp_path: Path,
    provider: Provider,
    traffic: Traffic,
    no_blocking: BlockBuster,
) -> AsyncIterator[Mesh]:
    setting = Setting(
        redis_url,
        model_dir,
        tmp_path,
        provider_url=provider.url,
        interceptors=[traffic],
        is_patient=False,
    )
    async with open_mesh(setting, no_blocking) as opened:
        yield opened


def simulated() -> Shares:
    """Return what the test-bed says; the mesh's own few milliseconds are a hop of their own."""
    scenario = Scenario(
        name="mesh",
        about="",
        hops=(
            Hop("own", 15.0, 0.3),
            Hop("embedding", HOP_MEDIAN_S * 1e3, HOP_SIGMA, skip_loss=0.03, cut_loss=0.03),
            Hop("retrieval", 2 * HOP_MEDIAN_S * 1e3, HOP_SIGMA / math.sqrt(2), cut_loss=0.03),
        ),
        text=Text(
            "generation",
            MODEL_MEDIAN_S * 1e3,
            MODEL_SIGMA,
            fast_factor=FAST_FACTOR,
            stand_in_ms=10.0,
        ),
        requests=2_000,
        rate_per_s=10.0,
        first_text_ms=FIRST_TEXT_S * 1e3,
        straggler_share=0.0,
    )
    losses = Losses()
    terms = Terms(
        fast_loss=losses.fast,
        win_loss=losses.fast_second,
        call_loss=losses.second_call,
        stand_in_loss=losses.extractive,
    )
    (result,) = simulate([Case(scenario, terms=terms)], range(5), workers=1)
    return Shares(result.figures["miss"][0], result.figures["degraded"][0])


async def measured(mesh: Mesh, provider: Provider, traffic: Traffic) -> Shares:
    """Ask the mesh, each question once, and never from the cache."""
    traffic.delays = Lognormal(7)
    traffic.is_slowed = lambda method: method.endswith(("/EmbedTexts", "/SearchPassages"))
    numbers = iter(range(QUESTIONS))
    late = lesser = 0
    lost: Counter[str] = Counter()

    async def worker() -> None:
        nonlocal late, lesser
        for number in numbers:
            question = Question(
                TENANT,
                other(number),
                policy=_POLICY,
                first_text_by_s=FIRST_TEXT_S,
                cache_control=CacheControl.BYPASS,
            )
            told = await mesh.ask(question)
            first_s = told.completed.account.first_text_s
            is_late = first_s is None or first_s > FIRST_TEXT_S
            late += is_late or told.completed.quality is Quality.REFUSAL
            lesser += told.completed.quality < Quality.FULL
            lost.update([told.completed.quality.name, *map(str, told.lost.items())])

    await asyncio.gather(*(worker() for _ in range(IN_PARALLEL)))
    print(dict(lost))
    return Shares(late / QUESTIONS, lesser / QUESTIONS)


@pytest.mark.prove
async def test_the_mesh_does_what_the_test_bed_says(
    mesh: Mesh, provider: Provider, traffic: Traffic
) -> None:
    models = GenerationConfig()
    for model, factor in ((models.best_model, 1.0), (models.fast_model, FAST_FACTOR)):
        median_s = MODEL_MEDIAN_S * factor
        provider.behave_for(model, first_text=f"lognormal:{median_s}:{MODEL_SIGMA}")
    expected = await asyncio.to_thread(simulated)
    found = await measured(mesh, provider, traffic)
    print(f"late: mesh {found.late:.3f}, simulated {expected.late:.3f}; ", end="")
    print(f"lesser: mesh {found.lesser:.3f}, simulated {expected.lesser:.3f}")
    assert abs(found.late - expected.late) <= LATE_BAND
    assert abs(found.lesser - expected.lesser) <= LESSER_BAND
