"""Who is turned away before anything is spent, and who is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from libs.errors import OverloadedError
from libs.server.testing import serving
from libs.values import AnswerState, ModelTier, Plan, Quality, Question
from services.orchestrator import __main__ as orchestrator
from services.orchestrator.course import Courses
from services.orchestrator.plan import GENERATION, ladder_of, prior_of
from services.orchestrator.planning.door import Caller
from services.orchestrator.policy import Policies, load_policies
from tests.support.corpus import TENANT, other
from tests.support.desk import Desk
from tests.support.mesh import Mesh, Setting, open_mesh
from tests.support.provider.server import Provider
from tests.support.traffic import Traffic
from tests.support.waiting import until

# A model that takes 300 ms of 900 when the mesh is quiet, and 850 when forty are under way.
PATIENCE_S, QUIET_S, BUSY_S, INSIDE = 0.9, 0.3, 0.85, 40
EAGER, GENEROUS, DEFERRING = "eager", "generous", "deferring"
FILE = "of_the_door.toml"
POLICIES = """
[eager]
first_text_s = 60.0
end_s = 120.0
lookup_limit_s = 60.0
head_start_s = 60.0

[generous]
first_text_s = 60.0
end_s = 120.0
lookup_limit_s = 60.0
head_start_s = 60.0

[generous.losses]
crowd = 1.0

[deferring]
fallback = "job"
first_text_s = 60.0
end_s = 120.0
lookup_limit_s = 60.0
head_start_s = 60.0
"""


def asked(number: int, policy: str = EAGER, minimum: Quality = Quality.FULL) -> Question:
    return Question(
        TENANT,
        other(number),
        policy=policy,
        minimum_quality=minimum,
        first_text_by_s=PATIENCE_S,
    )


class Watched(Courses):
    """The courses of a mesh, to be looked at."""

    made: list[Courses] = []  # noqa: RUF012 - emptied by each test

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.made.append(self)


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    path = tmp_path / FILE
    path.write_text(POLICIES)
    return load_policies(path)


@pytest.fixture
async def desk() -> Desk:
    return Desk()


@pytest.fixture
async def settings(
    tmp_path: Path, policies: Policies, desk: Desk
) -> AsyncIterator[Mapping[str, object]]:
    """What is set for the orchestrator: those policies, and that desk."""
    async with serving(desk.register) as address:
        yield {"policies_file": tmp_path / FILE, "jobs_target": address}


@pytest.fixture
async def mesh(
    redis_url: str,
    model_dir: Path,
    tmp_path: Path,
    settings: Mapping[str, object],
    provider: Provider,
    traffic: Traffic,
    no_blocking: BlockBuster,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Mesh]:
    monkeypatch.setattr(orchestrator, "Courses", Watched)
    Watched.made.clear()
    setting = Setting(
        redis_url,
        model_dir,
        tmp_path,
        provider_url=provider.url,
        interceptors=[traffic],
        settings={"orchestrator": settings},
    )
    async with open_mesh(setting, no_blocking) as opened:
        yield opened


def crowd(policies: Policies, name: str = EAGER) -> None:
    """Let forty in, and let it be known what the model takes without them and with them."""
    (courses,) = Watched.made
    policy = policies.named(name)
    tiers = (ModelTier.BEST, ModelTier.FAST, ModelTier.EXTRACTIVE)
    ladder = ladder_of(policy, tiers, Quality.FULL, reads=True)
    caller = Caller(ladder, prior_of(policy.costs), PATIENCE_S, 0.0)
    for inside, took_s, count in ((0, QUIET_S, 300), (INSIDE, BUSY_S, 60)):
        for _ in range(inside):
            courses.door.let_in(caller)
        for _ in range(count):
            let_in = courses.door.let_in(caller)
            courses.planner.learn(GENERATION, "best", let_in.band, took_s, is_cut=False)
            let_in.learn(took_s)
            let_in.leave()
        for due in courses.planner.stale():
            courses.planner.adopt(due, due.build())


def embedded(traffic: Traffic) -> int:
    return sum(call.method.endswith("/EmbedTexts") for call in traffic.calls)


async def test_who_cannot_be_answered_in_time_is_told_before_anything_is_spent(
    mesh: Mesh, policies: Policies, traffic: Traffic, provider: Provider
) -> None:
    crowd(policies)
    before = embedded(traffic)
    with pytest.raises(OverloadedError) as caught:
        await mesh.ask(asked(1))
    error = caught.value
    assert embedded(traffic) == before
    assert not provider.calls
    assert error.metadata["cause"] == "crowd"
    assert error.metadata["hop"] == GENERATION
    assert float(error.metadata["needed_ms"]) > float(error.metadata["had_ms"])
    assert float(error.metadata["had_ms"]) < PATIENCE_S * 1e3
    assert error.retry_after_s == 1.0


async def test_who_is_turned_away_has_a_job_where_the_policy_says_so(
    mesh: Mesh, policies: Policies, traffic: Traffic, desk: Desk
) -> None:
    crowd(policies, DEFERRING)
    before = embedded(traffic)
    told = await mesh.ask(asked(1, DEFERRING))
    assert embedded(traffic) == before
    assert isinstance(told.events[0].event, Plan)
    assert told.completed.answer_state is AnswerState.DEFERRED
    assert told.completed.job_id == "job-1"
    assert told.lost["answer"] == "OVERLOADED"
    desk.is_full = True
    with pytest.raises(OverloadedError) as caught:
        await mesh.ask(asked(2, DEFERRING))
    assert caught.value.metadata["job"] == "UNAVAILABLE"
    assert caught.value.metadata["cause"] == "crowd"


async def test_what_is_stored_is_answered_however_crowded_it_is(
    mesh: Mesh, policies: Policies
) -> None:
    async def is_stored() -> bool:
        return (await mesh.ask(asked(1))).layer == "EXACT"

    await until(is_stored)
    crowd(policies)
    with pytest.raises(OverloadedError):
        await mesh.ask(asked(2))
    for _ in range(20):
        assert (await mesh.ask(asked(1))).layer == "EXACT"


async def test_who_takes_what_the_passages_say_is_never_turned_away(
    mesh: Mesh, policies: Policies
) -> None:
    crowd(policies)
    for number in range(20):
        await mesh.ask(asked(number, minimum=Quality.UNSPECIFIED))


async def test_without_that_rule_each_of_them_costs_an_embedding(
    mesh: Mesh, policies: Policies, traffic: Traffic
) -> None:
    crowd(policies, GENEROUS)
    before = embedded(traffic)
    for number in range(20):
        await mesh.ask(asked(number, GENEROUS))
    assert embedded(traffic) == before + 20


async def test_who_was_let_in_makes_room_when_it_is_answered(mesh: Mesh) -> None:
    await mesh.ask(asked(1))
    (courses,) = Watched.made

    async def is_empty() -> bool:
        return courses.door.limiter.in_flight == 0

    await until(is_empty)
