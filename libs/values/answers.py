"""Values of `hasten.answer.v1`; each means what the proto's comment says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from libs.values.account import Account
from libs.values.basics import Citation, Filter, FinishReason, Passage, Quality, Turn, Usage


class CacheControl(IntEnum):
    """How the cache may be used for one request."""

    DEFAULT = 0
    BYPASS = 1
    NO_STORE = 2
    ONLY_IF_CACHED = 3
    REFRESH = 4

    @property
    def reads(self) -> bool:
        """True if stored answers may be used."""
        return self not in (CacheControl.BYPASS, CacheControl.REFRESH)

    @property
    def stores(self) -> bool:
        """True if the answer may be stored."""
        return self in (CacheControl.DEFAULT, CacheControl.REFRESH)


class Render(IntEnum):
    """How text is cut into events."""

    UNSPECIFIED = 0
    TOKEN = 1
    BLOCK = 2
    OUTLINE = 3


class CitationPlacement(IntEnum):
    """Where citations stand among the text."""

    UNSPECIFIED = 0
    INLINE = 1
    AFTER = 2


class AnswerState(IntEnum):
    """What an answer is worth."""

    UNSPECIFIED = 0
    COMPLETE = 1
    PARTIAL = 2
    UNSUPPORTED = 3
    REFUSED = 4
    DEFERRED = 5


class CacheLayer(IntEnum):
    """Layers of the answer cache."""

    NONE = 0
    EXACT = 1
    PROMPT = 2
    SEMANTIC = 3


class Verdict(IntEnum):
    """A caller's judgement of an answer."""

    UNSPECIFIED = 0
    GOOD = 1
    BAD = 2


@dataclass(frozen=True, slots=True)
class Question:
    """A question and how it is to be answered; times are with the call's `Budget`."""

    tenant_id: str
    question: str
    history: tuple[Turn, ...] = ()
    collection: str = "default"
    filters: tuple[Filter, ...] = ()
    policy: str = "interactive"
    first_text_by_s: float | None = None
    minimum_quality: Quality = Quality.UNSPECIFIED
    cache_control: CacheControl = CacheControl.DEFAULT
    render: Render = Render.TOKEN
    output_schema: str = ""
    resumable: bool = False
    scope: str = ""
    citation_placement: CitationPlacement = CitationPlacement.INLINE


@dataclass(frozen=True, slots=True)
class Degradation:
    """Something a run did without, and why."""

    hop: str
    reason: str


@dataclass(frozen=True, slots=True)
class PlannedHop:
    """A hop that a run sets out to call; times are seconds from the hop's start."""

    hop: str
    target_s: float
    limit_s: float
    hedge_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run sets out to do; times are seconds from its start."""

    run_id: str
    trace_id: str
    policy: str
    first_text_by_s: float
    end_by_s: float
    target_quality: Quality
    degradations: tuple[Degradation, ...] = ()
    first_text_probability: float | None = None
    hops: tuple[PlannedHop, ...] = ()


@dataclass(frozen=True, slots=True)
class StageFinished:
    """A stage ended `at_s` seconds into the run."""

    hop: str
    at_s: float
    outcome: str
    count: int = 0


@dataclass(frozen=True, slots=True)
class Sources:
    """The passages behind an answer, best first."""

    passages: tuple[Passage, ...]
    index_version: int
    stage: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A section of an answer, by its heading."""

    section_id: str
    title: str


@dataclass(frozen=True, slots=True)
class Outline:
    """The skeleton of an answer, before its sections are filled."""

    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class SectionText:
    """A piece of one section's text."""

    section_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Revised:
    """All text, sections and citations sent so far are withdrawn."""

    reason: str


@dataclass(frozen=True, slots=True)
class GoAway:
    """This server drains and ends in `time_left_s` seconds."""

    time_left_s: float


@dataclass(frozen=True, slots=True)
class CacheHit:
    """The stored answer that was replayed."""

    layer: CacheLayer
    similarity: float
    age_s: float
    entry_id: str
    stale: bool = False
    refresh_run_id: str = ""
    index_version: int = 0


@dataclass(frozen=True, slots=True)
class Completed:
    """The end of a run."""

    finish_reason: FinishReason
    answer_state: AnswerState
    quality: Quality
    account: Account
    degradations: tuple[Degradation, ...] = ()
    model: str = ""
    usage: Usage | None = None
    cache_hit: CacheHit | None = None
    followed_run_id: str = ""
    job_id: str = ""


Event = (
    Plan
    | StageFinished
    | Sources
    | TextDelta
    | Outline
    | SectionText
    | Citation
    | Revised
    | GoAway
    | Completed
)


SHOWN = (TextDelta, Outline, SectionText)
"""What a reader sees of the answer itself: the first of these is its first text."""


@dataclass(frozen=True, slots=True)
class AnswerEvent:
    """An event and its position in the run, from 1.

    Attributes:
        sequence: the position.
        event: what happened.
        scope: the access scope that the run was asked in, with its first event alone.
    """

    sequence: int
    event: Event
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose runs somebody may read, end and judge.

    Attributes:
        tenant_id: the tenant.
        scopes: the access scopes; `*` is all of them.
    """

    tenant_id: str
    scopes: frozenset[str] = frozenset()

    def may_see(self, scope: str) -> bool:
        """Return whether what is of a scope may be seen; without one, all of the tenant see it."""
        return not scope or scope in self.scopes or "*" in self.scopes
