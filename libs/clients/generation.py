"""A typed client of `hasten.generation.v1.GenerationService`."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hasten.generation.v1 import generation_service_pb2 as pb
from hasten.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from libs.clients.calling import Repeat
from libs.clients.connection import Connection, Responses
from libs.values import FinishReason, ModelTier, TextDelta, Usage
from libs.values.generation import (
    GenerationCompleted,
    GenerationEvent,
    Model,
    Prompt,
    Started,
)
from libs.wire import (
    citation_from,
    duration,
    passage_to,
    seconds,
    timing_from,
    turns_to,
    usage_from,
)


class GenerationClient:
    """Has answers written; raises what the server raised."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = GenerationServiceStub(connection.channel)

    @asynccontextmanager
    async def generate(
        self,
        prompt: Prompt,
        *,
        limit_s: float | None = None,
        first_text_s: float = math.inf,
    ) -> AsyncIterator[AsyncIterator[GenerationEvent]]:
        """Yield the answer's events as they come; leaving the block cancels the call.

        The last event is `GenerationCompleted`.

        Args:
            prompt: what to write, and from what.
            limit_s: seconds until the deadline; never more than the current budget leaves.
            first_text_s: seconds in which a first text is of use. A call that is lost before its
                first message is made once more only if that can still come then. A model
                that says to come back later is not waited for: the caller may do without.

        Raises:
            ModelUnavailableError: out of the iteration, as the following ones.
            ModelOverloadedError: with `retry_after_s`.
            ModelInterruptedError: after some text.
            BudgetExhaustedError: before any text.
        """
        request = _prompt_to(prompt)
        method, repeat = self._stub.GenerateText, Repeat(first_text_s, waits=False)
        async with self._connection.stream(
            method, request, limit_s=limit_s, repeat=repeat
        ) as batches:
            yield _events(batches)

    async def warm(self, prompt: Prompt, *, limit_s: float | None = None) -> Usage:
        """Have the start of a prompt cached by the provider: its system text and documents."""
        request = pb.WarmPromptRequest(
            tenant_id=prompt.tenant_id,
            tier=int(prompt.tier),  # type: ignore[arg-type]
            system=prompt.system,
            documents=map(passage_to, prompt.documents),
        )
        response = await self._connection.unary(self._stub.WarmPrompt, request, limit_s=limit_s)
        return usage_from(response.usage)

    async def models(self, *, limit_s: float | None = None) -> tuple[Model, ...]:
        """Return the models that can be asked, best first."""
        request = pb.ListModelsRequest()
        response = await self._connection.unary(self._stub.ListModels, request, limit_s=limit_s)
        return tuple(
            Model(ModelTier(model.tier), model.name, model.engine) for model in response.models
        )


def _prompt_to(prompt: Prompt) -> pb.GenerateTextRequest:
    request = pb.GenerateTextRequest(
        tenant_id=prompt.tenant_id,
        tier=int(prompt.tier),  # type: ignore[arg-type]
        system=prompt.system,
        passages=map(passage_to, prompt.passages),
        history=turns_to(prompt.history),
        question=prompt.question,
        max_output_tokens=prompt.max_output_tokens or 0,
        output_schema=prompt.output_schema,
        prompt_cache=int(prompt.prompt_cache),  # type: ignore[arg-type]
        documents=map(passage_to, prompt.documents),
    )
    if prompt.first_text_limit_s is not None:
        request.first_text_limit.CopyFrom(duration(prompt.first_text_limit_s))
    if prompt.stall_limit_s is not None:
        request.stall_limit.CopyFrom(duration(prompt.stall_limit_s))
    return request


async def _events(batches: Responses) -> AsyncIterator[GenerationEvent]:
    async for batch in batches:
        if batch.events and batch.events[-1].HasField("completed"):
            batches.close()
        for message in batch.events:
            event = _event_from(message)
            # A newer server may send kinds that this version does not know.
            if event is not None:
                yield event


def _event_from(message: pb.GenerationEvent) -> GenerationEvent | None:
    match message.WhichOneof("event"):
        case "started":
            return Started(message.started.model, message.started.engine)
        case "text_delta":
            return TextDelta(message.text_delta.text)
        case "citation_delta":
            return citation_from(message.citation_delta.citation)
        case "completed":
            return _completed_from(message.completed)
        case _:
            return None


def _completed_from(message: pb.Completed) -> GenerationCompleted:
    return GenerationCompleted(
        finish_reason=FinishReason(message.finish_reason),
        usage=usage_from(message.usage),
        timing=timing_from(message.timing),
        first_text_s=seconds(message.first_text) if message.HasField("first_text") else None,
    )
