from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import FencedError
from libs.values.jobs import Job, JobCompleted, JobError, JobItem, JobProgress, JobState
from services.jobs.record import (
    Change,
    Record,
    began,
    cancelled,
    delivered,
    failed,
    lost,
    percent_of,
    postponed,
    succeeded,
    tried_again,
    went_on,
)

NOW_S = 1_000.0
WRONG = JobError("UNREACHABLE", "gone")


def waiting() -> Record:
    job = Job("job-1", "steps", JobState.QUEUED, NOW_S, NOW_S + 60, revision=1)
    return Record("acme", job, ttl_s=10.0, due_s=NOW_S)


def running() -> Record:
    return began(waiting(), owner="me", trace_id="t", now_s=NOW_S).after


# What an attempt may do to its job, each as a function of the job and the attempt's number.
Step = Callable[[Record, int], Change | None]
STEPS: dict[str, Step] = {
    "half": lambda record, number: went_on(record, number, JobProgress(50.0, 1, 2), NOW_S),
    "quarter": lambda record, number: went_on(record, number, JobProgress(25.0, 1, 4), NOW_S),
    "item": lambda record, number: delivered(record, number, JobItem("key", b"{}"), NOW_S),
    "later": lambda record, number: postponed(record, number, WRONG, due_s=NOW_S + 1, now_s=NOW_S),
    "released": lambda record, number: postponed(record, number, None, due_s=NOW_S, now_s=NOW_S),
    "succeeded": lambda record, number: succeeded(record, number, b"{}", NOW_S),
    "failed": lambda record, number: failed(record, number, WRONG, dead_letter=True, now_s=NOW_S),
}
EACH_STEP = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)


@EACH_STEP
def test_an_attempt_that_was_replaced_changes_nothing(step: Step) -> None:
    taken_over = began(lost(running()), owner="other", trace_id="", now_s=NOW_S).after
    with pytest.raises(FencedError):
        step(taken_over, 1)


@EACH_STEP
def test_a_job_that_has_ended_never_changes(step: Step) -> None:
    for end in (succeeded(running(), 1, b"{}", NOW_S), cancelled(running(), NOW_S)):
        assert end is not None
        with pytest.raises(FencedError):
            step(end.after, 1)
        assert cancelled(end.after, NOW_S) is None


@given(st.lists(st.sampled_from(list(STEPS.values())), max_size=20))
def test_whatever_happens_events_have_no_gaps_and_progress_never_goes_back(
    steps: list[Step],
) -> None:
    record, sequences, percents = waiting(), [1], [0.0]
    for step in steps:
        if record.job.state.has_ended:
            break
        if record.job.state is JobState.QUEUED:
            change: Change | None = began(record, owner="me", trace_id="", now_s=NOW_S)
        else:
            change = step(record, record.job.attempt)
        if change is None:
            continue
        assert change.before == record
        sequences += [each.sequence for each in change.events]
        record = change.after
        assert record.job.revision == sequences[-1]
        percents.append(record.job.progress.percent)
    assert sequences == list(range(1, len(sequences) + 1))
    assert percents == sorted(percents)


@given(st.sampled_from(list(STEPS.values())))
def test_a_record_comes_back_as_it_was_kept(step: Step) -> None:
    change = step(running(), 1)
    assert change is not None
    assert Record.from_json(change.after.to_json()) == change.after


def test_a_result_is_in_the_last_event_alone() -> None:
    change = succeeded(running(), 1, b'{"a": 1}', NOW_S)
    last = change.events[-1].event
    assert isinstance(last, JobCompleted)
    assert last.job.result == b'{"a": 1}'
    assert change.after.job.result == b""
    assert b'{"a": 1}' not in change.after.to_json()


def test_who_ends_without_blame_has_not_failed() -> None:
    assert postponed(running(), 1, None, due_s=NOW_S, now_s=NOW_S).after.failures == 0
    assert postponed(running(), 1, WRONG, due_s=NOW_S, now_s=NOW_S).after.failures == 1
    suspect = lost(running())
    assert (suspect.failures, suspect.is_suspect) == (0, True)
    assert lost(suspect).failures == 1


def test_a_job_that_has_ended_is_kept_for_its_time() -> None:
    change = succeeded(running(), 1, b"{}", NOW_S + 5)
    assert change.after.job.expires_at_s == NOW_S + 15


def test_a_dead_letter_that_is_tried_again_is_none_any_more() -> None:
    dead = failed(running(), 1, WRONG, dead_letter=True, now_s=NOW_S).after
    assert dead.job.dead_letter
    again = tried_again(dead, "job-2").after
    assert (again.job.dead_letter, again.job.state) == (False, JobState.FAILED)
    assert again.retried_as == "job-2"


@given(st.integers(-5, 10**12), st.integers(-5, 10**12))
def test_a_part_is_always_between_nothing_and_all(done: int, total: int) -> None:
    assert 0 <= percent_of(done, total) <= 100


def test_who_ends_an_attempt_by_itself_is_no_suspect_any_more() -> None:
    again = began(lost(running()), owner="other", trace_id="", now_s=NOW_S).after
    assert again.is_suspect
    assert not postponed(again, 2, WRONG, due_s=NOW_S, now_s=NOW_S).after.is_suspect
    # Who is only given back has not shown anything.
    assert postponed(again, 2, None, due_s=NOW_S, now_s=NOW_S).after.is_suspect
