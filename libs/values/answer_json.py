"""Events and answers as JSON objects; times are in milliseconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any

from libs.values import (
    Account,
    CacheHit,
    Citation,
    Completed,
    Degradation,
    Event,
    GoAway,
    HopAccount,
    Outline,
    Plan,
    PlannedHop,
    Revised,
    SectionText,
    Sources,
    StageFinished,
    TextDelta,
)
from libs.values.sections import Sections


@dataclass(slots=True)
class WholeAnswer:
    """The events of a run, put together: what is withdrawn is gone."""

    plan: Plan | None = None
    sources: Sources | None = None
    completed: Completed | None = None
    texts: list[str] = field(default_factory=list)
    sections: Sections = field(default_factory=Sections)
    citations: list[Citation] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """Take the next event in."""
        match event:
            case Plan():
                self.plan = event
            case Sources():
                self.sources = event
            case TextDelta(text):
                self.texts.append(text)
            case SectionText():
                self.sections.write(event)
            case Outline():
                self.sections.open(event)
            case Citation():
                self.citations.append(event)
            case Revised():
                self.texts.clear()
                self.sections.clear()
                self.citations.clear()
            case Completed():
                self.completed = event
            case StageFinished() | GoAway():
                pass

    @property
    def text(self) -> str:
        """The whole text so far."""
        return self.sections.text() if self.sections else "".join(self.texts)

    @property
    def placed(self) -> list[Citation]:
        """The citations, with offsets into the whole text."""
        return self.sections.placed(self.citations) if self.sections else self.citations

    def members(self, completed: Completed) -> dict[str, Any]:
        """Return the answer that `completed` ended as one JSON object."""
        return {**self.members_so_far(), **_end(completed, self.plan)}

    def members_so_far(self) -> dict[str, Any]:
        """Return what there is of an answer that may go on as one JSON object."""
        return {
            "answer": self.text,
            "citations": [asdict(each) for each in self.placed],
            "sources": [asdict(each) for each in self.sources.passages] if self.sources else [],
            "trace_id": self.plan.trace_id if self.plan else "",
            "run_id": self.plan.run_id if self.plan else "",
        }


def name_of(event: Event) -> str:
    """Return the name under which an event goes into an event stream."""
    return _NAMES[type(event)]


_NAMES: dict[type[Event], str] = {
    Plan: "plan",
    StageFinished: "stage",
    Sources: "sources",
    TextDelta: "text",
    Outline: "outline",
    SectionText: "section.text",
    Citation: "citation",
    Revised: "revised",
    GoAway: "goaway",
    Completed: "completed",
}


def members_of(event: Event, plan: Plan | None) -> dict[str, Any]:
    """Return an event as a JSON object.

    Args:
        event: any event of a run.
        plan: the run's plan, if it has been seen.
    """
    match event:
        case TextDelta(text):
            return {"text": text}  # most events are; `asdict` would copy it deeply
        case Plan():
            return _plan(event)
        case StageFinished(hop, at_s, outcome, count):
            return {"hop": hop, "at_ms": _ms(at_s), "outcome": outcome, "count": count}
        case GoAway(time_left_s):
            return {"time_left_ms": _ms(time_left_s)}
        case Completed():
            return _end(event, plan)
        case _:
            return asdict(event)


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "run_id": plan.run_id,
        "trace_id": plan.trace_id,
        "policy": plan.policy,
        "budget_ms": _ms(plan.first_text_by_s),
        "deadline_ms": _ms(plan.end_by_s),
        "target_quality": _name(plan.target_quality),
        "degradations": _degradations(plan.degradations),
        "first_text_probability": plan.first_text_probability,
        "hops": [_planned(hop) for hop in plan.hops],
    }


def _planned(hop: PlannedHop) -> dict[str, Any]:
    return {
        "hop": hop.hop,
        "target_ms": _ms(hop.target_s),
        "limit_ms": _ms(hop.limit_s),
        "hedge_after_ms": None if hop.hedge_after_s is None else _ms(hop.hedge_after_s),
    }


def _end(completed: Completed, plan: Plan | None) -> dict[str, Any]:
    return {
        "quality": _name(completed.quality),
        "finish_reason": _name(completed.finish_reason),
        "answer_state": _name(completed.answer_state),
        "degradations": _degradations(completed.degradations),
        "cache": _cache(completed.cache_hit),
        "followed_run_id": completed.followed_run_id or None,
        "job_id": completed.job_id or None,
        "model": completed.model,
        "usage": asdict(completed.usage) if completed.usage else None,
        "latency": _latency(completed.account, plan),
    }


def _latency(account: Account, plan: Plan | None) -> dict[str, Any]:
    first_text_s = account.first_text_s
    return {
        "total_ms": _ms(account.total_s),
        "first_text_ms": None if first_text_s is None else _ms(first_text_s),
        "budget_ms": _ms(plan.first_text_by_s) if plan else None,
        "deadline_ms": _ms(plan.end_by_s) if plan else None,
        "unattributed_ms": _ms(account.unattributed_s),
        "hops": [_hop(hop) for hop in account.hops],
        "pieces": [
            {
                "hop": piece.hop,
                "kind": _name(piece.kind),
                "start_ms": _ms(piece.start_s),
                "length_ms": _ms(piece.length_s),
            }
            for piece in account.pieces
        ],
    }


def _hop(hop: HopAccount) -> dict[str, Any]:
    return {
        "hop": hop.hop,
        "start_ms": _ms(hop.start_s),
        "granted_ms": _ms(hop.granted_s),
        "used_ms": _ms(hop.used_s),
        "queue_ms": _ms(hop.queue_s),
        "compute_ms": _ms(hop.compute_s),
        "model_ms": _ms(hop.model_s),
        "network_ms": _ms(hop.network_s),
        "slack_ms": _ms(hop.slack_s),
        "outcome": hop.outcome or None,
        "skipped": hop.skipped or None,
    }


def _cache(hit: CacheHit | None) -> dict[str, Any] | None:
    if hit is None:
        return None
    return {
        "layer": _name(hit.layer),
        "similarity": round(hit.similarity, 4),
        "age_s": round(hit.age_s, 3),
        "entry_id": hit.entry_id,
        "stale": hit.stale,
        "refresh_run_id": hit.refresh_run_id or None,
        "index_version": hit.index_version or None,
    }


def _degradations(degradations: tuple[Degradation, ...]) -> list[dict[str, Any]]:
    return [asdict(each) for each in degradations]


def _name(member: IntEnum) -> str:
    return member.name.lower()


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
