from __future__ import annotations

from rich.console import Console

from cli.jobs import _table
from libs.values.jobs import Job, JobError, JobState

JOB = Job(
    job_id="job-01a210ed882f7345dfb70cd0",
    kind="summarize",
    state=JobState.FAILED,
    created_at_s=0.0,
    expires_at_s=1.0,
    revision=1,
    error=JobError("COLLECTION_NOT_FOUND", "there is none"),
    ended_at_s=1.0,
)


def test_a_list_of_jobs_has_their_whole_ids_on_a_narrow_screen() -> None:
    console = Console(width=60)
    with console.capture() as captured:
        console.print(_table([JOB]))
    assert JOB.job_id in captured.get()
