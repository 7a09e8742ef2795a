"""What holds for every kind: an attempt after a crash, and a job that is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from services.jobs.kinds import KINDS
from tests.mesh.kinds.test_analyze import read
from tests.mesh.kinds.test_classify import LABELS, sorted_by_word
from tests.mesh.kinds.test_report import planned
from tests.support.corpus import FACTS
from tests.support.jobs import TASK, Asked, CrashError, Staff, Told, attempt, saying
from tests.support.provider import Provider
from tests.support.waiting import until

ROWS = [f"a parcel, the {number}th" for number in range(8)]
GIVEN: dict[str, dict[str, Any]] = {
    "analyze": {"question": "What is known of ice?"},
    "classify": {"rows": ROWS, "labels": LABELS, "batch_rows": 2},
    "extract": {"rows": ROWS, "output_schema": {"type": "object"}},
    "ingest": {"files": [{"name": f"{n}.md", "content": "x" * 90_000} for n in range(8)]},
    "report": {"topic": "Ice", "outline": ["Ice", "Bread", "Ferries", "Music"]},
    "summarize": {},
}


def good(asked: Asked) -> object:
    """What a model says that does as it is told, whatever the kind of job."""
    if "rows" in asked.form:
        return sorted_by_word(asked)
    if asked.form & {"findings", "answer"}:
        return read(asked)
    if asked.form:
        return planned(asked)
    return "{}" if "schema" in asked.system else None


async def test_an_attempt_after_a_crash_goes_on_where_the_one_before_it_broke_off(
    model_staff: Staff, provider: Provider
) -> None:
    saying(provider, good)
    await model_staff.store(*[fact.document for fact in FACTS])
    for kind, given in GIVEN.items():
        whole, undisturbed = await attempt(model_staff.clients, kind, **given)
        asked_whole = len(provider.calls)
        told = Told(crash_after=2)
        with pytest.raises(CrashError):
            await attempt(model_staff.clients, kind, told, **given)
        assert len(told.items) == 2
        told.crash_after, asked_before = None, len(provider.calls)
        # `Told` refuses an item that was made before.
        result, _ = await attempt(model_staff.clients, kind, told, **given)
        assert told.items.keys() == undisturbed.items.keys(), kind
        assert len(provider.calls) - asked_before <= asked_whole
        if kind != "ingest":
            assert result.keys() == whole.keys()
            counts = {key for key in whole if key.endswith("count")}
            assert {key: result[key] for key in counts} == {key: whole[key] for key in counts}
        provider.calls.clear()


async def test_an_attempt_that_is_told_of_nothing_asks_for_everything_again(
    writers: Staff, provider: Provider
) -> None:
    saying(provider, good)
    _, told = await attempt(writers.clients, "extract", **GIVEN["extract"])
    for items, asked in (({}, len(ROWS)), (told.items, 0)):
        provider.calls.clear()
        await attempt(writers.clients, "extract", Told(dict(items)), **GIVEN["extract"])
        assert len(provider.calls) == asked


async def test_an_attempt_that_has_everything_asks_no_model_of_it_again(
    model_staff: Staff, provider: Provider
) -> None:
    saying(provider, good)
    await model_staff.store(*[fact.document for fact in FACTS])
    for kind in ("classify", "extract", "report"):
        _, told = await attempt(model_staff.clients, kind, **GIVEN[kind])
        asked_before = len(provider.calls)
        await attempt(model_staff.clients, kind, told, **GIVEN[kind])
        assert len(provider.calls) == asked_before, kind


async def test_cancelling_a_job_cancels_every_call_that_it_has_under_way(
    model_staff: Staff, provider: Provider
) -> None:
    async def is_quiet() -> bool:
        return provider.in_flight == 0

    await model_staff.store(*[fact.document for fact in FACTS])
    provider.behave(headers="30")
    for kind in ("analyze", "classify", "extract", "report", "summarize"):
        provider.calls.clear()
        given = KINDS[kind].input.model_validate_json(json.dumps(GIVEN[kind]))
        job = asyncio.ensure_future(KINDS[kind].run(TASK, given, Told(), model_staff.clients))
        await provider.until_asked(4)
        assert provider.in_flight == 4
        job.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await job
        await until(is_quiet)
        assert set(provider.outcomes()) == {"cancelled"}, kind


async def test_a_model_that_is_busy_for_a_moment_is_asked_again(
    writers: Staff, provider: Provider
) -> None:
    saying(provider, good)
    provider.next_behave(overload_rate=1.0, retry_after="0.01")
    provider.next_behave(overload_rate=1.0, overload_status=429, retry_after="0.01")
    given = {"rows": ["a parcel"], "labels": LABELS}
    result, _ = await attempt(writers.clients, "classify", **given)
    assert result["classified_count"] == 1
    assert provider.outcomes() == ["refused", "refused", "complete"]
