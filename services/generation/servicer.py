"""`hasten.generation.v1.GenerationService`: from the wire to the engines and back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from grpc import aio

from hasten.common.v1 import common_pb2
from hasten.generation.v1 import generation_service_pb2 as pb
from hasten.generation.v1.generation_service_pb2_grpc import (
    GenerationServiceServicer,
    add_GenerationServiceServicer_to_server,
)
from libs.errors import InvalidFieldError
from libs.server import current_call
from libs.values import Citation, ModelTier, Passage, Role, TextDelta, Timing
from libs.values.generation import (
    GenerationCompleted,
    GenerationEvent,
    Prompt,
    PromptCache,
    Started,
)
from libs.wire import (
    citation_to,
    duration,
    passage_from,
    seconds,
    timing_to,
    turns_from,
    usage_to,
)
from services.generation.roster import Roster
from services.generation.writer import Writer

_MAX_SYSTEM_CHARS = 32_000
_MAX_PASSAGES = 100
_MAX_DOCUMENTS = 1_000
_MAX_DOCUMENTS_CHARS = 1_000_000
_MAX_TURNS = 50
_MAX_TEXT_CHARS = 8_000
_MAX_OUTPUT_TOKENS = 64_000
# An answer of this length counts for one call, as does one that says nothing of its length.
_TOKENS_PER_UNIT = 1024


class GenerationServicer(GenerationServiceServicer):
    """Writes answers with the engines of a roster."""

    NAME = pb.DESCRIPTOR.services_by_name["GenerationService"].full_name

    def __init__(self, roster: Roster, writer: Writer) -> None:
        self._roster = roster
        self._writer = writer

    def register(self, server: aio.Server) -> None:
        """Attach this servicer to a server."""
        add_GenerationServiceServicer_to_server(self, server)

    async def GenerateText(
        self, request: pb.GenerateTextRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.GenerateTextResponse]:
        prompt = _prompt_from(request)
        engine = self._roster.engine(prompt.tier)
        async with aclosing(self._writer.write(engine, prompt, _timing)) as batches:
            async for batch in batches:
                yield pb.GenerateTextResponse(events=map(_event_to, batch))

    async def WarmPrompt(
        self, request: pb.WarmPromptRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.WarmPromptResponse:
        _check_length("system", request.system, _MAX_SYSTEM_CHARS)
        prompt = Prompt(
            tenant_id=request.tenant_id,
            question="",
            tier=_tier_from(request.tier),
            system=request.system,
            documents=_documents_from(request.documents),
        )
        usage = await self._roster.engine(prompt.tier).warm(prompt)
        return pb.WarmPromptResponse(usage=usage_to(usage), timing=timing_to(_timing(0.0)))

    async def ListModels(
        self, request: pb.ListModelsRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ListModelsResponse:
        models = [
            pb.Model(tier=int(model.tier), name=model.name, engine=model.engine)  # type: ignore[arg-type]
            for model in self._roster.models()
        ]
        return pb.ListModelsResponse(models=models, timing=timing_to(current_call().timing()))


def cost_of(request: pb.GenerateTextRequest) -> int:
    """Return what an answer counts for among those written at once, by its length."""
    return max(1, -(-request.max_output_tokens // _TOKENS_PER_UNIT))


def _timing(waited_s: float) -> Timing:
    return current_call().timing(model_s=waited_s)


def _prompt_from(request: pb.GenerateTextRequest) -> Prompt:
    """Return the prompt of a request.

    Raises:
        InvalidFieldError: a field is outside its limits.
    """
    _check_length("system", request.system, _MAX_SYSTEM_CHARS)
    _check_text("question", request.question)
    _check_count("passages", len(request.passages), _MAX_PASSAGES)
    _check_count("history", len(request.history), _MAX_TURNS)
    for index, turn in enumerate(request.history):
        _check_turn(f"history[{index}]", turn)
    return Prompt(
        tenant_id=request.tenant_id,
        question=request.question,
        tier=_tier_from(request.tier),
        system=request.system,
        passages=tuple(map(passage_from, request.passages)),
        history=turns_from(request.history),
        max_output_tokens=_max_output_tokens_from(request.max_output_tokens),
        output_schema=_output_schema_from(request.output_schema),
        stall_limit_s=_stall_limit_from(request),
        prompt_cache=_prompt_cache_from(request.prompt_cache),
        documents=_documents_from(request.documents),
        first_text_limit_s=(
            seconds(request.first_text_limit) if request.HasField("first_text_limit") else None
        ),
    )


def _documents_from(documents: Sequence[common_pb2.Passage]) -> tuple[Passage, ...]:
    _check_count("documents", len(documents), _MAX_DOCUMENTS)
    chars = sum(len(each.text) for each in documents)
    if chars > _MAX_DOCUMENTS_CHARS:
        problem = f"must be at most {_MAX_DOCUMENTS_CHARS:,} characters, have {chars:,}"
        raise InvalidFieldError("documents", problem, limit=_MAX_DOCUMENTS_CHARS, length=chars)
    return tuple(map(passage_from, documents))


def _prompt_cache_from(value: int) -> PromptCache:
    try:
        return PromptCache(value)
    except ValueError as error:
        raise InvalidFieldError("prompt_cache", "must be a known one", value=value) from error


def _check_length(field: str, text: str, limit: int) -> None:
    if len(text) > limit:
        problem = f"must be at most {limit:,} characters, has {len(text):,}"
        raise InvalidFieldError(field, problem, limit=limit, length=len(text))


def _check_text(field: str, text: str) -> None:
    # Providers refuse what is all blank.
    if not text.strip():
        raise InvalidFieldError(field, f"must be 1 to {_MAX_TEXT_CHARS:,} characters, is blank")
    _check_length(field, text, _MAX_TEXT_CHARS)


def _check_count(field: str, count: int, limit: int) -> None:
    if count > limit:
        problem = f"must be at most {limit}, has {count}"
        raise InvalidFieldError(field, problem, limit=limit, count=count)


def _check_turn(field: str, turn: common_pb2.Turn) -> None:
    if int(turn.role) not in (Role.USER, Role.ASSISTANT):
        raise InvalidFieldError(f"{field}.role", "must be ROLE_USER or ROLE_ASSISTANT")
    _check_text(f"{field}.text", turn.text)


def _tier_from(value: int) -> ModelTier:
    try:
        return ModelTier(value)
    except ValueError as error:
        raise InvalidFieldError("tier", "must be a known tier", tier=value) from error


def _max_output_tokens_from(value: int) -> int | None:
    if not 0 <= value <= _MAX_OUTPUT_TOKENS:
        problem = f"must be 1 to {_MAX_OUTPUT_TOKENS:,}, is {value:,}"
        raise InvalidFieldError("max_output_tokens", problem, limit=_MAX_OUTPUT_TOKENS)
    return value or None


def _output_schema_from(text: str) -> str:
    if not text:
        return text
    try:
        is_object = isinstance(json.loads(text), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise InvalidFieldError("output_schema", "must be a JSON Schema: a JSON object")
    return text


def _stall_limit_from(request: pb.GenerateTextRequest) -> float | None:
    if not request.HasField("stall_limit"):
        return None
    limit_s = seconds(request.stall_limit)
    if limit_s <= 0:
        raise InvalidFieldError("stall_limit", f"must be more than 0 s, is {limit_s:g} s")
    return limit_s


def _event_to(event: GenerationEvent) -> pb.GenerationEvent:
    match event:
        case Started():
            started = pb.Started(model=event.model, engine=event.engine)
            return pb.GenerationEvent(started=started)
        case TextDelta():
            return pb.GenerationEvent(text_delta=pb.TextDelta(text=event.text))
        case Citation():
            delta = pb.CitationDelta(citation=citation_to(event))
            return pb.GenerationEvent(citation_delta=delta)
        case GenerationCompleted():
            return pb.GenerationEvent(completed=_completed_to(event))


def _completed_to(completed: GenerationCompleted) -> pb.Completed:
    message = pb.Completed(
        finish_reason=int(completed.finish_reason),  # type: ignore[arg-type]
        usage=usage_to(completed.usage),
        timing=timing_to(completed.timing),
    )
    if completed.first_text_s is not None:
        message.first_text.CopyFrom(duration(completed.first_text_s))
    return message
