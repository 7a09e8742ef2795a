"""`hasten.cache.v1.CacheService`: from the wire to the store and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from enum import IntEnum
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from grpc import aio

from hasten.answer.v1 import answer_service_pb2 as answer_pb
from hasten.cache.v1 import cache_service_pb2 as pb
from hasten.cache.v1.cache_service_pb2_grpc import (
    CacheServiceServicer,
    add_CacheServiceServicer_to_server,
)
from libs.errors import DependencyUnavailableError, InvalidFieldError
from libs.server import current_call
from libs.values import (
    CacheLayer,
    FinishReason,
    ModelTier,
    Quality,
    Role,
    SourceVersion,
    Turn,
    Verdict,
)
from libs.values.cache import (
    AskedOf,
    AskedQuestion,
    BuiltFrom,
    Everything,
    Lookup,
    OlderThan,
    Provenance,
    Selector,
    WithTag,
    WrittenBy,
)
from libs.wire import duration, filters_from, seconds, timing_to, usage_from
from services.cache import limits
from services.cache.decision import Judgement
from services.cache.entry import DamagedRecordError, Draft, Entry, decode, encode
from services.cache.explaining import Explained, Explainer
from services.cache.finder import Finder
from services.cache.freshness import Freshness
from services.cache.keeper import Keeper
from services.cache.reasons import Reason
from services.cache.replica import Replica
from services.cache.reuse import Asked
from services.cache.trust.agreement import Told
from services.cache.vectors import unpacked

# What one message of a replayed answer holds; a larger event has a message of its own.
PAGE_BYTES = 32 * 1024
_REPLAYED = ("sources", "text_delta", "outline", "section_text", "citation")
Kind = TypeVar("Kind", bound=IntEnum)


class CacheServicer(CacheServiceServicer):
    """Serves what a finder finds and a keeper keeps."""

    NAME = pb.DESCRIPTOR.services_by_name["CacheService"].full_name

    def __init__(
        self,
        finder: Finder,
        keeper: Keeper,
        replica: Replica,
        freshness: Freshness,
        explainer: Explainer,
        *,
        max_answer_bytes: int,
    ) -> None:
        self._finder = finder
        self._explainer = explainer
        self._keeper = keeper
        self._replica = replica
        self._freshness = freshness
        self._max_answer_bytes = max_answer_bytes

    def register(self, server: aio.Server) -> None:
        """Attach this servicer to a server."""
        add_CacheServiceServicer_to_server(self, server)

    async def LookupAnswer(
        self, request: pb.LookupAnswerRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.LookupAnswerResponse]:
        found = await self._found(request)
        pages = () if found.entry is None else found.entry.pages
        response = pb.LookupAnswerResponse()
        if pages:
            response.ParseFromString(pages[0])
        _decide(response.decision, found, request.layer)
        response.final = len(pages) <= 1
        yield response
        for number, page in enumerate(pages[1:], 2):
            response = pb.LookupAnswerResponse.FromString(page)
            response.final = number == len(pages)
            yield response

    async def FindAnswer(
        self, request: pb.FindAnswerRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.FindAnswerResponse:
        found = await self._found(request)
        pages = () if found.entry is None else found.entry.pages
        response = pb.FindAnswerResponse()
        response.final = len(pages) <= 1
        if pages and response.final:
            # A page of the one method is a page of the other: see the contract.
            response.MergeFromString(pages[0])
        _decide(response.decision, found, request.layer)
        return response

    async def StoreAnswer(
        self, request: pb.StoreAnswerRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.StoreAnswerResponse:
        draft = _draft_from(request)
        limits.check_draft(draft, max_bytes=self._max_answer_bytes)
        try:
            reason = await self._keeper.keep(draft)
        except DependencyUnavailableError:
            reason = Reason.STORE_UNAVAILABLE
        stored = reason is Reason.OK
        why = "" if stored else reason
        return pb.StoreAnswerResponse(stored=stored, reason=why, timing=_timing())

    async def InvalidateAnswers(
        self, request: pb.InvalidateAnswersRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.InvalidateAnswersResponse:
        limits.check_tenant(request.tenant_id)
        removed = await self._keeper.remove(request.tenant_id, _selector_from(request))
        return pb.InvalidateAnswersResponse(removed_count=removed, timing=_timing())

    async def ReportAnswer(
        self, request: pb.ReportAnswerRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ReportAnswerResponse:
        limits.check_tenant(request.tenant_id)
        limits.check_id("entry_id", request.entry_id)
        verdict = _known(Verdict, request.verdict, "verdict")
        if verdict is Verdict.UNSPECIFIED:
            raise InvalidFieldError("verdict", "is required")
        layer = _known(CacheLayer, request.layer, "layer")
        removed = await self._keeper.report(request.tenant_id, request.entry_id, verdict, layer)
        return pb.ReportAnswerResponse(removed=removed, timing=_timing())

    async def GetStats(
        self, request: pb.GetStatsRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.GetStatsResponse:
        limits.check_tenant(request.tenant_id)
        return pb.GetStatsResponse(
            semantic_entry_count=self._replica.index.count(request.tenant_id),
            lookup_counts=self._finder.outcomes(request.tenant_id),
            index_version=self._freshness.index_version,
            timing=_timing(),
        )

    async def ExplainLookup(
        self, request: pb.ExplainLookupRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ExplainLookupResponse:
        limits.check_explained(request.tenant_id, request.question, request.limit)
        limits.check_fingerprint(request.embedding_fingerprint)
        asked = Asked(request.question, request.embedding_fingerprint)
        limit = request.limit or limits.EXPLAINED
        found = await self._explainer.explain(request.tenant_id, asked, request.embedding, limit)
        reuse = self._explainer.reuse
        return pb.ExplainLookupResponse(
            candidates=map(_explained_to, found),
            floor=reuse.floor(asked.fingerprint),
            target=reuse.target,
            timing=_timing(),
        )

    async def ExportAnswers(
        self, request: pb.ExportAnswersRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.ExportAnswersResponse]:
        limits.check_tenant(request.tenant_id)
        async for entry in self._keeper.export(request.tenant_id):
            yield _export_to(entry)

    async def ImportAnswer(
        self, request: pb.ImportAnswerRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ImportAnswerResponse:
        entry = _entry_from(request)
        limits.check_entry(entry, request.tenant_id, max_bytes=self._max_answer_bytes)
        try:
            reason = await self._keeper.restore(entry)
        except DependencyUnavailableError:
            reason = Reason.STORE_UNAVAILABLE
        stored = reason is Reason.OK
        why = "" if stored else reason
        return pb.ImportAnswerResponse(
            stored=stored, reason=why, entry_id=entry.entry_id, timing=_timing()
        )

    async def _found(self, request: pb.LookupAnswerRequest | pb.FindAnswerRequest) -> Judgement:
        lookup = _lookup_from(request)
        limits.check_lookup(lookup)
        return await self._finder.find(lookup)


def _lookup_from(request: pb.LookupAnswerRequest | pb.FindAnswerRequest) -> Lookup:
    return Lookup(
        tenant_id=request.tenant_id,
        layer=_known(CacheLayer, request.layer, "layer"),
        asked=_asked_from(request.asked) if request.HasField("asked") else None,
        prompt_sha256=request.prompt_sha256,
        embedding=request.embedding,
        embedding_fingerprint=request.embedding_fingerprint,
        min_similarity=request.min_similarity if request.HasField("min_similarity") else None,
        minimum_quality=_known(Quality, request.minimum_quality, "minimum_quality"),
        accept_stale=request.accept_stale or not request.HasField("accept_stale"),
        refreshes=request.refreshes,
        shares_personal=request.shares_personal,
        provenance=_known(Provenance, request.provenance, "provenance"),
        wrong_hit_allowance=_optional(request, "wrong_hit_allowance"),
        policy=request.policy,
    )


def _optional(request: pb.LookupAnswerRequest | pb.FindAnswerRequest, field: Any) -> float | None:
    return getattr(request, field) if request.HasField(field) else None


def _asked_from(message: pb.AskedQuestion) -> AskedQuestion:
    return AskedQuestion(
        question=message.question,
        history=tuple(_turns_from(message)),
        scope=message.scope,
        collection=message.collection,
        filters=filters_from(message.filters),
        settings_fingerprint=message.settings_fingerprint,
        model_tier=_known(ModelTier, message.model_tier, "asked.model_tier"),
        system_version=message.system_version,
        output_schema=message.output_schema,
    )


def _turns_from(message: pb.AskedQuestion) -> Iterator[Turn]:
    for number, turn in enumerate(message.history):
        role = _known(Role, turn.role, f"asked.history[{number}].role")
        yield Turn(role, turn.text)


def _draft_from(request: pb.StoreAnswerRequest) -> Draft:
    if request.prompt_sha256:
        limits.check_prompt(request.prompt_sha256)
    if request.embedding:
        unpacked(request.embedding)
    return Draft(
        tenant_id=request.tenant_id,
        asked=_asked_from(request.asked),
        entry_id=request.entry_id,
        pages=_pages_from(request.events),
        finish_reason=_known(FinishReason, request.finish_reason, "finish_reason"),
        quality=_known(Quality, request.quality, "quality"),
        degraded=request.degraded,
        model=request.model,
        prompt=request.prompt_sha256.hex(),
        vector=request.embedding,
        embedding_fingerprint=request.embedding_fingerprint,
        sources=tuple(
            SourceVersion(each.collection, each.document_id, each.version)
            for each in request.sources
        ),
        store_id=request.store_id,
        tags=tuple(request.tags),
        made_in_s=seconds(request.made_in),
        usage=usage_from(request.usage),
        index_version=request.index_version,
        refusal=request.refusal,
        shares_personal=request.shares_personal,
        provenance=_known(Provenance, request.provenance, "provenance") or Provenance.SOURCES,
    )


def _pages_from(events: Iterable[answer_pb.AnswerEvent]) -> tuple[bytes, ...]:
    """Return the events as responses that replay them, numbered anew from 1."""
    pages: list[pb.LookupAnswerResponse] = []
    size = PAGE_BYTES
    for number, event in enumerate(events):
        kind = event.WhichOneof("event")
        if kind not in _REPLAYED:
            problem = f"must be one of {', '.join(_REPLAYED)}, is {kind or 'nothing known'}"
            raise InvalidFieldError(f"events[{number}]", problem)
        size += event.ByteSize()
        if size >= PAGE_BYTES:
            pages.append(pb.LookupAnswerResponse())
            size = event.ByteSize()
        added = pages[-1].events.add()
        added.CopyFrom(event)
        added.sequence = number + 1
    return tuple(page.SerializeToString() for page in pages)


def _export_to(entry: Entry) -> pb.ExportAnswersResponse:
    response = pb.ExportAnswersResponse(
        entry_id=entry.entry_id,
        question=entry.question,
        quality=int(entry.quality),  # type: ignore[arg-type]
        model=entry.model,
        record=encode(entry),
    )
    response.create_time.FromMilliseconds(int(entry.created_at_s * 1e3))
    response.expire_time.FromMilliseconds(int(entry.expires_at_s * 1e3))
    return response


def _entry_from(request: pb.ImportAnswerRequest) -> Entry:
    """Return the entry of a record; its pages are made anew, since lookups trust them.

    Raises:
        InvalidFieldError: the record is damaged, or its vector or events are none.
    """
    try:
        entry = decode(request.record)
        pages = [pb.LookupAnswerResponse.FromString(page) for page in entry.pages]
    except (DamagedRecordError, DecodeError) as error:
        raise InvalidFieldError("record", f"cannot be read: {error}") from error
    if entry.vector:
        unpacked(entry.vector)
    return replace(entry, pages=_pages_from(event for page in pages for event in page.events))


def told_of(pages: Iterable[bytes]) -> Told:
    """Return what an answer tells, from its pages."""
    text: list[str] = []
    cited: set[tuple[str, int, int]] = set()
    for page in pages:
        for event in pb.LookupAnswerResponse.FromString(page).events:
            if event.HasField("text_delta"):
                text.append(event.text_delta.text)
            elif event.HasField("section_text"):
                text.append(event.section_text.text)
            elif event.HasField("citation"):
                place = event.citation
                cited.add((place.document_id, place.start_offset, place.end_offset))
    return Told("".join(text), frozenset(cited))


def _selector_from(request: pb.InvalidateAnswersRequest) -> Selector:
    match request.WhichOneof("selector"):
        case "everything" if request.everything:
            return Everything()
        case "tag":
            limits.check_tag("tag", request.tag)
            return WithTag(request.tag)
        case "document":
            return BuiltFrom(request.document.collection, request.document.document_id)
        case "collection":
            return AskedOf(request.collection)
        case "model":
            return WrittenBy(request.model)
        case "older_than":
            return OlderThan(_age_s(request))
    choices = "everything, tag, document, collection, model or older_than"
    raise InvalidFieldError("selector", f"must be {choices}")


def _age_s(request: pb.InvalidateAnswersRequest) -> float:
    age_s = seconds(request.older_than)
    if age_s < 0:
        raise InvalidFieldError("older_than", f"must not be negative, is {age_s:g} s")
    return age_s


def _explained_to(found: Explained) -> pb.ExplainedCandidate:
    entry, opinion = found.candidate.entry, found.opinion
    return pb.ExplainedCandidate(
        entry_id=entry.entry_id,
        question=entry.question,
        context=entry.context,
        similarity=found.candidate.similarity,
        reason=found.reason,
        cheap_probability=None if opinion is None else opinion.cheap,
        verified_probability=None if opinion is None else opinion.verified,
        probability=None if opinion is None else opinion.probability,
        age=duration(found.age_s),
        quality=int(entry.quality),  # type: ignore[arg-type]
        collection=entry.collection,
    )


def _decide(decision: pb.Decision, found: Judgement, layer: int) -> None:
    """Fill in the decision of a first message, in place: it is on the fastest path."""
    decision.reason = found.reason
    if found.similarity is not None:
        decision.similarity = found.similarity
    if found.probability is not None:
        decision.probability = found.probability
    entry = found.entry
    if entry is not None:
        decision.hit = True
        decision.age.CopyFrom(duration(found.age_s))
        decision.entry_id = entry.entry_id
        decision.quality = int(entry.quality)  # type: ignore[assignment]
        decision.model = entry.model
        decision.finish_reason = int(entry.finish_reason)  # type: ignore[assignment]
        decision.index_version = entry.index_version
        if found.stale:
            decision.stale = True
            decision.refresh = found.refresh
        if entry.refusal:
            decision.refusal = entry.refusal
        if layer == CacheLayer.SEMANTIC:
            decision.question = entry.question
    decision.timing.CopyFrom(_timing())


def _timing() -> Any:
    return timing_to(current_call().timing())


def _known(kind: type[Kind], number: int, field: str) -> Kind:
    try:
        return kind(number)
    except ValueError as error:
        raise InvalidFieldError(field, f"must be a known {kind.__name__}, is {number}") from error
