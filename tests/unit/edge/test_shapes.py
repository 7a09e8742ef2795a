"""What the OpenAPI document says of answers is what they are."""

from dataclasses import replace
from typing import Any

from jsonschema import Draft202012Validator

from libs.values import (
    Account,
    AnswerState,
    CacheHit,
    CacheLayer,
    Citation,
    Completed,
    Degradation,
    FinishReason,
    HopAccount,
    Passage,
    Piece,
    PieceKind,
    Plan,
    Quality,
    Sources,
    TextDelta,
    Usage,
)
from libs.values.answer_json import WholeAnswer
from services.edge.answers.shapes import ANSWER, RUN
from services.edge.chat.saying import Saying
from services.edge.chat.shapes import COMPLETION

PLAN = Plan("run-1", "ab" * 16, "interactive", 0.7, 10.0, Quality.FULL)
PASSAGE = Passage("d1:1:0", "d1", 1, "Sky", "", "Blue light scatters.", 0, 20, "file:d1", 0.5)
EVENTS = (
    PLAN,
    Sources((PASSAGE,), 7, "fused"),
    TextDelta("Because"),
    Citation(0, "d1", "Blue", 0, 4, 7, "s1"),
)
ACCOUNT = Account(
    0.5,
    0.25,
    (Piece("generation", PieceKind.MODEL, 0.0, 0.5),),
    (HopAccount("generation", 0.01, outcome="ok"), HopAccount("cache", 0.0, skipped="NO_TIME")),
)
FULL = Completed(
    FinishReason.END_TURN,
    AnswerState.COMPLETE,
    Quality.FULL,
    ACCOUNT,
    degradations=(Degradation("cache", "NO_TIME"),),
    model="best",
    usage=Usage(10, 5),
    cache_hit=CacheHit(CacheLayer.SEMANTIC, 0.97, 12.5, "run-0", refresh_run_id="run-1"),
    followed_run_id="run-2",
    job_id="job-1",
)
BARE = replace(
    FULL,
    account=replace(ACCOUNT, first_text_s=None),
    usage=None,
    cache_hit=None,
    followed_run_id="",
    job_id="",
)


def told(answer: WholeAnswer) -> WholeAnswer:
    for event in EVENTS:
        answer.add(event)
    return answer


def check(members: Any, shape: Any) -> None:
    Draft202012Validator(shape).validate(members)


def test_every_member_of_an_answer_is_in_its_shape_and_none_is_missing() -> None:
    check(told(WholeAnswer()).members(FULL), ANSWER)
    check(WholeAnswer().members(BARE), ANSWER)


def test_a_run_has_the_shape_of_its_state() -> None:
    last = {"last_event_id": 4}
    check({"state": "running", **told(WholeAnswer()).members_so_far(), **last}, RUN)
    check({"state": "ended", **told(WholeAnswer()).members(FULL), **last}, RUN)


def test_a_completion_has_its_shape() -> None:
    for completed in (FULL, BARE):
        saying = Saying("hasten", 0, ["temperature"])
        told(saying.answer)
        check(saying.completion(completed), COMPLETION)


def test_a_member_that_the_shape_does_not_know_is_found() -> None:
    members = WholeAnswer().members(FULL) | {"new": 1}
    assert not Draft202012Validator(ANSWER).is_valid(members)
