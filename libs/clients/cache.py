"""A typed client of `hasten.cache.v1.CacheService`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from hasten.cache.v1 import cache_service_pb2 as pb
from hasten.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from libs.budget import Budget
from libs.clients.connection import Connection, Responses
from libs.errors import UnreachableError
from libs.values import AnswerEvent, CacheLayer, FinishReason, Quality, SourceVersion, Verdict
from libs.values.cache import (
    Answer,
    AskedOf,
    AskedQuestion,
    BuiltFrom,
    CacheStats,
    Decision,
    Everything,
    ExplainedCandidate,
    Explanation,
    ExportedAnswer,
    Lookup,
    OlderThan,
    Removed,
    Reported,
    Selector,
    Stored,
    WithTag,
    WrittenBy,
)
from libs.wire import (
    duration,
    event_from,
    event_to,
    filters_to,
    seconds,
    timing_from,
    turns_to,
    usage_to,
)

Request = TypeVar("Request", pb.LookupAnswerRequest, pb.FindAnswerRequest)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a lookup, whole.

    Attributes:
        decision: whether a stored answer serves, and why.
        events: all of the answer, in order; none for a miss.
    """

    decision: Decision
    events: tuple[AnswerEvent, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a lookup.

    Attributes:
        decision: whether a stored answer serves, and why.
        events: of the answer, in order, as many at a time as came together; none for a
            miss. Read within the block of the lookup.
    """

    decision: Decision
    events: AsyncIterator[tuple[AnswerEvent, ...]]


class CacheClient:
    """Finds and keeps answers; raises what the server raised."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = CacheServiceStub(connection.channel)

    @asynccontextmanager
    async def lookup(self, lookup: Lookup, *, limit_s: float | None = None) -> AsyncIterator[Found]:
        """Look a question up, and yield the decision once it is there.

        Leaving the block cancels what of the answer has not been read.
        """
        request = _lookup_to(pb.LookupAnswerRequest, lookup)
        method = self._stub.LookupAnswer
        async with self._connection.stream(method, request, limit_s=limit_s) as messages:
            first = await anext(messages, None)
            if first is None:
                raise UnreachableError("the cache ended a lookup without a decision")
            if first.final:
                messages.close()
            yield Found(_decision_from(first.decision), _pages(first, messages))

    async def find(self, lookup: Lookup, *, limit_s: float | None = None) -> Outcome:
        """Look a question up, and return the whole outcome.

        Quicker than `lookup` for a small answer and for a miss: grpc.aio waits for a
        unary call once, for a stream three times. A large answer takes a second call,
        within the same limit.
        """
        limit = None if limit_s is None else Budget.of(limit_s)
        request = _lookup_to(pb.FindAnswerRequest, lookup)
        response = await self._connection.unary(self._stub.FindAnswer, request, limit_s=limit_s)
        if response.final:
            events = tuple(map(event_from, response.events))
            return Outcome(_decision_from(response.decision), events)
        left_s = None if limit is None else limit.remaining_s()
        async with self.lookup(lookup, limit_s=left_s) as found:
            events = tuple([event async for page in found.events for event in page])
            return Outcome(found.decision, events)

    async def explain(
        self,
        tenant_id: str,
        question: str,
        vector: bytes,
        fingerprint: str,
        *,
        limit: int = 5,
        limit_s: float | None = None,
    ) -> Explanation:
        """Return what a lookup by meaning would make of the `limit` nearest stored questions."""
        request = pb.ExplainLookupRequest(
            tenant_id=tenant_id,
            question=question,
            embedding=vector,
            embedding_fingerprint=fingerprint,
            limit=limit,
        )
        response = await self._connection.unary(self._stub.ExplainLookup, request, limit_s=limit_s)
        candidates = tuple(map(_explained_from, response.candidates))
        return Explanation(candidates, response.floor, response.target)

    async def store(self, answer: Answer, *, limit_s: float | None = None) -> Stored:
        """Keep an answer; a refusal is a value."""
        request = _answer_to(answer)
        response = await self._connection.unary(self._stub.StoreAnswer, request, limit_s=limit_s)
        return Stored(response.stored, response.reason, timing_from(response.timing))

    async def invalidate(
        self, tenant_id: str, selector: Selector, *, limit_s: float | None = None
    ) -> Removed:
        """Remove the answers of one tenant that match."""
        request = _invalidation_to(tenant_id, selector)
        method = self._stub.InvalidateAnswers
        response = await self._connection.unary(method, request, limit_s=limit_s)
        return Removed(response.removed_count, timing_from(response.timing))

    async def report(
        self,
        tenant_id: str,
        entry_id: str,
        verdict: Verdict,
        layer: CacheLayer = CacheLayer.NONE,
        *,
        limit_s: float | None = None,
    ) -> Reported:
        """Give a verdict on a stored answer; a bad one is removed everywhere.

        Args:
            tenant_id: whose answer.
            entry_id: its name.
            verdict: good or bad.
            layer: by which it came to whoever judges it, if it was not written for them.
            limit_s: seconds until the deadline; never more than the current budget leaves.
        """
        request = pb.ReportAnswerRequest(
            tenant_id=tenant_id,
            entry_id=entry_id,
            verdict=int(verdict),  # type: ignore[arg-type]
            layer=int(layer),  # type: ignore[arg-type]
        )
        response = await self._connection.unary(self._stub.ReportAnswer, request, limit_s=limit_s)
        return Reported(response.removed, timing_from(response.timing))

    @asynccontextmanager
    async def export(
        self, tenant_id: str, *, limit_s: float | None = None
    ) -> AsyncIterator[AsyncIterator[ExportedAnswer]]:
        """Yield every stored answer of a tenant; leaving the block ends the reading."""
        request = pb.ExportAnswersRequest(tenant_id=tenant_id)
        method = self._stub.ExportAnswers
        async with self._connection.stream(method, request, limit_s=limit_s) as messages:
            yield (_exported_from(message) async for message in messages)

    async def restore(
        self, tenant_id: str, record: bytes, *, limit_s: float | None = None
    ) -> Stored:
        """Bring back an answer by the record that an export gave; a refusal is a value."""
        request = pb.ImportAnswerRequest(tenant_id=tenant_id, record=record)
        response = await self._connection.unary(self._stub.ImportAnswer, request, limit_s=limit_s)
        return Stored(response.stored, response.reason, timing_from(response.timing))

    async def stats(self, tenant_id: str, *, limit_s: float | None = None) -> CacheStats:
        """Return what the replica that answers holds of a tenant."""
        request = pb.GetStatsRequest(tenant_id=tenant_id)
        response = await self._connection.unary(self._stub.GetStats, request, limit_s=limit_s)
        return CacheStats(
            response.semantic_entry_count,
            dict(response.lookup_counts),
            response.index_version,
            timing_from(response.timing),
        )


async def _pages(
    first: pb.LookupAnswerResponse, rest: Responses
) -> AsyncIterator[tuple[AnswerEvent, ...]]:
    if first.events:
        yield tuple(map(event_from, first.events))
    async for message in rest:
        if message.final:
            rest.close()
        yield tuple(map(event_from, message.events))


def _lookup_to(kind: type[Request], lookup: Lookup) -> Request:
    return kind(
        tenant_id=lookup.tenant_id,
        layer=int(lookup.layer),  # type: ignore[arg-type]
        asked=None if lookup.asked is None else _asked_to(lookup.asked),
        prompt_sha256=lookup.prompt_sha256,
        embedding=lookup.embedding,
        embedding_fingerprint=lookup.embedding_fingerprint,
        min_similarity=lookup.min_similarity,
        minimum_quality=int(lookup.minimum_quality),  # type: ignore[arg-type]
        # What is not said is true; the shorter message is the quicker one.
        accept_stale=None if lookup.accept_stale else False,
        refreshes=lookup.refreshes,
        shares_personal=lookup.shares_personal,
        provenance=int(lookup.provenance),  # type: ignore[arg-type]
        wrong_hit_allowance=lookup.wrong_hit_allowance,
        policy=lookup.policy,
    )


def _asked_to(asked: AskedQuestion) -> pb.AskedQuestion:
    return pb.AskedQuestion(
        question=asked.question,
        history=turns_to(asked.history),
        scope=asked.scope,
        collection=asked.collection,
        filters=filters_to(asked.filters),
        settings_fingerprint=asked.settings_fingerprint,
        model_tier=int(asked.model_tier),  # type: ignore[arg-type]
        system_version=asked.system_version,
        output_schema=asked.output_schema,
    )


def _explained_from(message: pb.ExplainedCandidate) -> ExplainedCandidate:
    def said(name: str) -> float | None:
        return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]

    return ExplainedCandidate(
        entry_id=message.entry_id,
        question=message.question,
        context=message.context,
        similarity=message.similarity,
        reason=message.reason,
        cheap=said("cheap_probability"),
        verified=said("verified_probability"),
        probability=said("probability"),
        age_s=seconds(message.age),
        quality=Quality(message.quality),
        collection=message.collection,
    )


def _decision_from(message: pb.Decision) -> Decision:
    return Decision(
        hit=message.hit,
        reason=message.reason,
        similarity=message.similarity if message.HasField("similarity") else None,
        probability=message.probability if message.HasField("probability") else None,
        age_s=seconds(message.age),
        entry_id=message.entry_id,
        quality=Quality(message.quality),
        model=message.model,
        finish_reason=FinishReason(message.finish_reason),
        timing=timing_from(message.timing),
        stale=message.stale,
        refresh=message.refresh,
        question=message.question,
        index_version=message.index_version,
        refusal=message.refusal,
    )


def _exported_from(message: pb.ExportAnswersResponse) -> ExportedAnswer:
    return ExportedAnswer(
        message.entry_id,
        message.question,
        message.create_time.ToMilliseconds() / 1e3,
        message.expire_time.ToMilliseconds() / 1e3,
        Quality(message.quality),
        message.model,
        message.record,
    )


def _answer_to(answer: Answer) -> pb.StoreAnswerRequest:
    return pb.StoreAnswerRequest(
        tenant_id=answer.tenant_id,
        asked=_asked_to(answer.asked),
        prompt_sha256=answer.prompt_sha256,
        embedding=answer.embedding,
        embedding_fingerprint=answer.embedding_fingerprint,
        entry_id=answer.entry_id,
        events=map(event_to, answer.events),
        finish_reason=int(answer.finish_reason),  # type: ignore[arg-type]
        quality=int(answer.quality),  # type: ignore[arg-type]
        degraded=answer.degraded,
        model=answer.model,
        sources=map(_source_to, answer.sources),
        store_id=answer.store_id,
        tags=answer.tags,
        made_in=duration(answer.made_in_s),
        usage=None if answer.usage is None else usage_to(answer.usage),
        index_version=answer.index_version,
        refusal=answer.refusal,
        shares_personal=answer.shares_personal,
        provenance=int(answer.provenance),  # type: ignore[arg-type]
    )


def _source_to(source: SourceVersion) -> pb.SourceVersion:
    return pb.SourceVersion(
        collection=source.collection, document_id=source.document_id, version=source.version
    )


def _invalidation_to(tenant_id: str, selector: Selector) -> pb.InvalidateAnswersRequest:
    request = pb.InvalidateAnswersRequest(tenant_id=tenant_id)
    match selector:
        case Everything():
            request.everything = True
        case WithTag(tag):
            request.tag = tag
        case AskedOf(collection):
            request.collection = collection
        case BuiltFrom(collection, document_id):
            request.document.collection = collection
            request.document.document_id = document_id
        case WrittenBy(model):
            request.model = model
        case OlderThan(age_s):
            request.older_than.CopyFrom(duration(age_s))
    return request
