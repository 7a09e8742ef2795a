"""Values of `hasten.cache.v1`; each means what the proto's comment says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from libs.values.answers import AnswerEvent, CacheLayer
from libs.values.basics import (
    Filter,
    FinishReason,
    ModelTier,
    Quality,
    SourceVersion,
    Timing,
    Turn,
    Usage,
)


class Provenance(IntEnum):
    """Which changes of documents make a stored answer unusable; a larger one is stricter."""

    UNSPECIFIED = 0
    TTL = 1
    SOURCES = 2
    COLLECTION = 3


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """Everything that was asked; what differs in any field is another question."""

    question: str
    history: tuple[Turn, ...] = ()
    scope: str = ""
    collection: str = ""
    filters: tuple[Filter, ...] = ()
    settings_fingerprint: str = ""
    model_tier: ModelTier = ModelTier.UNSPECIFIED
    system_version: str = ""
    output_schema: str = ""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A question to look up in one layer."""

    tenant_id: str
    layer: CacheLayer
    asked: AskedQuestion | None = None
    prompt_sha256: bytes = b""
    embedding: bytes = field(default=b"", repr=False)
    embedding_fingerprint: str = ""
    min_similarity: float | None = None
    minimum_quality: Quality = Quality.UNSPECIFIED
    accept_stale: bool = True
    refreshes: bool = False
    shares_personal: bool = False
    provenance: Provenance = Provenance.UNSPECIFIED
    wrong_hit_allowance: float | None = None
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a stored answer serves the question, and why."""

    hit: bool
    reason: str
    similarity: float | None = None
    probability: float | None = None
    age_s: float = 0.0
    entry_id: str = ""
    quality: Quality = Quality.UNSPECIFIED
    model: str = ""
    finish_reason: FinishReason = FinishReason.UNSPECIFIED
    timing: Timing = field(default_factory=Timing)
    stale: bool = False
    refresh: bool = False
    question: str = ""
    index_version: int = 0
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to keep; its events are sources, text, sections and citations alone.

    Attributes:
        made_in_s: how long it took to make it.
    """

    tenant_id: str
    asked: AskedQuestion
    entry_id: str
    events: tuple[AnswerEvent, ...]
    finish_reason: FinishReason
    quality: Quality
    degraded: bool = False
    model: str = ""
    prompt_sha256: bytes = b""
    embedding: bytes = field(default=b"", repr=False)
    embedding_fingerprint: str = ""
    sources: tuple[SourceVersion, ...] = ()
    store_id: str = ""
    tags: tuple[str, ...] = ()
    made_in_s: float = 0.0
    usage: Usage | None = None
    index_version: int = 0
    refusal: str = ""
    shares_personal: bool = False
    provenance: Provenance = Provenance.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Stored:
    """Whether an answer was kept; `reason` says why not."""

    stored: bool
    reason: str = ""
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class ExportedAnswer:
    """A stored answer as it leaves a cache.

    Attributes:
        create_time_s: when it was stored first, in seconds since the epoch.
        expire_time_s: when it ends, in seconds since the epoch.
        record: the entry as the store keeps it, for an import alone.
    """

    entry_id: str
    question: str
    create_time_s: float
    expire_time_s: float
    quality: Quality
    model: str
    record: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Everything:
    """Selects every answer of a tenant."""


@dataclass(frozen=True, slots=True)
class ExplainedCandidate:
    """A stored question, and what each stage of a lookup by meaning says of it.

    Attributes:
        context: digest of everything but the question that was asked.
        similarity: cosine of the questions, in [-1, 1].
        reason: `OK`, or why the answer does not serve, within its context.
        cheap: probability that one answer serves both by the cheap stages, in [0, 1]; None if
            one of them was certain, or if cosine alone decides.
        verified: the verifier's; None if it was not asked, or did not say.
        probability: the final one; None if there is none.
        age_s: seconds since the answer was generated.
    """

    entry_id: str
    question: str
    context: str
    similarity: float
    reason: str
    cheap: float | None
    verified: float | None
    probability: float | None
    age_s: float
    quality: Quality
    collection: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a lookup by meaning would make of the nearest stored questions.

    Attributes:
        candidates: nearest first.
        floor: the least cosine at which one is judged at all.
        target: the probability that a hit must reach.
    """

    candidates: tuple[ExplainedCandidate, ...]
    floor: float
    target: float


@dataclass(frozen=True, slots=True)
class WithTag:
    """Selects the answers stored with a label."""

    tag: str


@dataclass(frozen=True, slots=True)
class BuiltFrom:
    """Selects the answers built from a document."""

    collection: str
    document_id: str


@dataclass(frozen=True, slots=True)
class AskedOf:
    """Selects the answers asked of a collection."""

    collection: str


@dataclass(frozen=True, slots=True)
class WrittenBy:
    """Selects the answers that a model wrote."""

    model: str


@dataclass(frozen=True, slots=True)
class OlderThan:
    """Selects the answers stored at least `age_s` ago."""

    age_s: float


Selector = Everything | WithTag | BuiltFrom | AskedOf | WrittenBy | OlderThan


@dataclass(frozen=True, slots=True)
class Removed:
    """Number of answers that were removed."""

    count: int
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class Reported:
    """Whether a verdict removed a stored answer."""

    removed: bool
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a replica holds of a tenant, and how it has done since it started.

    Attributes:
        semantic_entry_count: entries that this replica can find by meaning.
        lookup_counts: lookups by outcome: `exact_hit`, `prompt_hit`, `semantic_hit`, or
            the reason of a miss.
        index_version: the last version of retrieval's index it has heard of.
    """

    semantic_entry_count: int
    lookup_counts: Mapping[str, int]
    index_version: int
    timing: Timing = field(default_factory=Timing)
