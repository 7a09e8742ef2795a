"""`hasten.answer.v1`: questions and events, to their messages and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hasten.answer.v1 import answer_service_pb2 as pb
from libs.values import (
    AnswerEvent,
    AnswerState,
    CacheControl,
    CacheHit,
    CacheLayer,
    Citation,
    CitationPlacement,
    Completed,
    Degradation,
    Event,
    FinishReason,
    GoAway,
    Outline,
    Plan,
    PlannedHop,
    Quality,
    Question,
    Render,
    Revised,
    Section,
    SectionText,
    Sources,
    StageFinished,
    TextDelta,
)
from libs.wire.account import account_from, account_to
from libs.wire.basics import (
    citation_from,
    citation_to,
    duration,
    enumeration,
    filters_from,
    filters_to,
    passage_from,
    passage_to,
    seconds,
    turns_from,
    turns_to,
    usage_from,
    usage_to,
)


def question_to(question: Question) -> pb.StreamAnswerRequest:
    """Return the request that asks a question."""
    request = pb.StreamAnswerRequest(
        tenant_id=question.tenant_id,
        question=question.question,
        history=turns_to(question.history),
        collection=question.collection,
        filters=filters_to(question.filters),
        policy=question.policy,
        minimum_quality=int(question.minimum_quality),  # type: ignore[arg-type]
        cache_control=int(question.cache_control),  # type: ignore[arg-type]
        render=int(question.render),  # type: ignore[arg-type]
        output_schema=question.output_schema,
        resumable=question.resumable,
        scope=question.scope,
        citation_placement=int(question.citation_placement),  # type: ignore[arg-type]
    )
    if question.first_text_by_s is not None:
        request.first_text_by.CopyFrom(duration(question.first_text_by_s))
    return request


def question_from(request: pb.StreamAnswerRequest) -> Question:
    """Return the question of a request, with the contract's defaults filled in.

    Raises:
        InvalidFieldError: an enum has a value that this version does not know.
    """
    by_s = seconds(request.first_text_by) if request.HasField("first_text_by") else None
    placement = enumeration(CitationPlacement, request.citation_placement, "citation_placement")
    return Question(
        tenant_id=request.tenant_id,
        question=request.question,
        history=turns_from(request.history),
        collection=request.collection or "default",
        filters=filters_from(request.filters),
        policy=request.policy or "interactive",
        first_text_by_s=by_s,
        minimum_quality=enumeration(Quality, request.minimum_quality, "minimum_quality"),
        cache_control=enumeration(CacheControl, request.cache_control, "cache_control"),
        render=enumeration(Render, request.render, "render") or Render.TOKEN,
        output_schema=request.output_schema,
        resumable=request.resumable,
        scope=request.scope,
        citation_placement=placement or CitationPlacement.INLINE,
    )


def event_to(numbered: AnswerEvent) -> pb.AnswerEvent:
    """Return the message of a numbered event."""
    field, convert = _TO[type(numbered.event)]
    return pb.AnswerEvent(
        sequence=numbered.sequence, scope=numbered.scope, **{field: convert(numbered.event)}
    )


def event_from(message: pb.AnswerEvent) -> AnswerEvent:
    """Return the numbered event of a message.

    Raises:
        ValueError: the message holds no event that this version knows.
    """
    field = message.WhichOneof("event")
    if field is None:
        msg = f"event {message.sequence} is of a kind that this version does not know"
        raise ValueError(msg)
    return AnswerEvent(message.sequence, _FROM[field](getattr(message, field)), message.scope)


def _degradations_to(degradations: Iterable[Degradation]) -> list[pb.Degradation]:
    return [pb.Degradation(hop=each.hop, reason=each.reason) for each in degradations]


def _degradations_from(messages: Iterable[pb.Degradation]) -> tuple[Degradation, ...]:
    return tuple(Degradation(each.hop, each.reason) for each in messages)


def _plan_to(plan: Plan) -> pb.Plan:
    return pb.Plan(
        run_id=plan.run_id,
        trace_id=plan.trace_id,
        policy=plan.policy,
        first_text_by=duration(plan.first_text_by_s),
        end_by=duration(plan.end_by_s),
        target_quality=int(plan.target_quality),  # type: ignore[arg-type]
        degradations=_degradations_to(plan.degradations),
        first_text_probability=plan.first_text_probability,
        hops=map(_planned_to, plan.hops),
    )


def _planned_to(hop: PlannedHop) -> pb.PlannedHop:
    message = pb.PlannedHop(hop=hop.hop)
    message.target.CopyFrom(duration(hop.target_s))
    message.limit.CopyFrom(duration(hop.limit_s))
    if hop.hedge_after_s is not None:
        message.hedge_after.CopyFrom(duration(hop.hedge_after_s))
    return message


def _planned_from(message: pb.PlannedHop) -> PlannedHop:
    after_s = seconds(message.hedge_after) if message.HasField("hedge_after") else None
    return PlannedHop(message.hop, seconds(message.target), seconds(message.limit), after_s)


def _plan_from(message: pb.Plan) -> Plan:
    return Plan(
        message.run_id,
        message.trace_id,
        message.policy,
        seconds(message.first_text_by),
        seconds(message.end_by),
        Quality(message.target_quality),
        _degradations_from(message.degradations),
        message.first_text_probability if message.HasField("first_text_probability") else None,
        tuple(map(_planned_from, message.hops)),
    )


def _stage_to(stage: StageFinished) -> pb.StageFinished:
    at = duration(stage.at_s)
    return pb.StageFinished(hop=stage.hop, at=at, outcome=stage.outcome, count=stage.count)


def _stage_from(message: pb.StageFinished) -> StageFinished:
    return StageFinished(message.hop, seconds(message.at), message.outcome, message.count)


def _sources_to(sources: Sources) -> pb.Sources:
    return pb.Sources(
        passages=map(passage_to, sources.passages),
        index_version=sources.index_version,
        stage=sources.stage,
    )


def _sources_from(message: pb.Sources) -> Sources:
    passages = tuple(map(passage_from, message.passages))
    return Sources(passages, message.index_version, message.stage)


def _outline_to(outline: Outline) -> pb.Outline:
    sections = (
        pb.Section(section_id=each.section_id, title=each.title) for each in outline.sections
    )
    return pb.Outline(sections=sections)


def _outline_from(message: pb.Outline) -> Outline:
    return Outline(tuple(Section(each.section_id, each.title) for each in message.sections))


def _section_text_to(piece: SectionText) -> pb.SectionText:
    return pb.SectionText(section_id=piece.section_id, text=piece.text)


def _completed_to(completed: Completed) -> pb.Completed:
    message = pb.Completed(
        finish_reason=int(completed.finish_reason),  # type: ignore[arg-type]
        answer_state=int(completed.answer_state),  # type: ignore[arg-type]
        quality=int(completed.quality),  # type: ignore[arg-type]
        degradations=_degradations_to(completed.degradations),
        model=completed.model,
        account=account_to(completed.account),
        followed_run_id=completed.followed_run_id,
        job_id=completed.job_id,
    )
    if completed.usage is not None:
        message.usage.CopyFrom(usage_to(completed.usage))
    if completed.cache_hit is not None:
        message.cache_hit.CopyFrom(_hit_to(completed.cache_hit))
    return message


def _completed_from(message: pb.Completed) -> Completed:
    return Completed(
        finish_reason=FinishReason(message.finish_reason),
        answer_state=AnswerState(message.answer_state),
        quality=Quality(message.quality),
        account=account_from(message.account),
        degradations=_degradations_from(message.degradations),
        model=message.model,
        usage=usage_from(message.usage) if message.HasField("usage") else None,
        cache_hit=_hit_from(message.cache_hit) if message.HasField("cache_hit") else None,
        followed_run_id=message.followed_run_id,
        job_id=message.job_id,
    )


def _hit_to(hit: CacheHit) -> pb.CacheHit:
    return pb.CacheHit(
        layer=int(hit.layer),  # type: ignore[arg-type]
        similarity=hit.similarity,
        age=duration(hit.age_s),
        entry_id=hit.entry_id,
        stale=hit.stale,
        refresh_run_id=hit.refresh_run_id,
        index_version=hit.index_version,
    )


def _hit_from(message: pb.CacheHit) -> CacheHit:
    return CacheHit(
        CacheLayer(message.layer),
        message.similarity,
        seconds(message.age),
        message.entry_id,
        message.stale,
        message.refresh_run_id,
        message.index_version,
    )


_TO: dict[type[Event], tuple[str, Callable[[Any], Any]]] = {
    Plan: ("plan", _plan_to),
    StageFinished: ("stage_finished", _stage_to),
    Sources: ("sources", _sources_to),
    TextDelta: ("text_delta", lambda delta: pb.TextDelta(text=delta.text)),
    Outline: ("outline", _outline_to),
    SectionText: ("section_text", _section_text_to),
    Citation: ("citation", citation_to),
    Revised: ("revised", lambda revised: pb.Revised(reason=revised.reason)),
    GoAway: ("go_away", lambda away: pb.GoAway(time_left=duration(away.time_left_s))),
    Completed: ("completed", _completed_to),
}
_FROM: dict[str, Callable[[Any], Event]] = {
    "plan": _plan_from,
    "stage_finished": _stage_from,
    "sources": _sources_from,
    "text_delta": lambda message: TextDelta(message.text),
    "outline": _outline_from,
    "section_text": lambda message: SectionText(message.section_id, message.text),
    "citation": citation_from,
    "revised": lambda message: Revised(message.reason),
    "go_away": lambda message: GoAway(seconds(message.time_left)),
    "completed": _completed_from,
}
