"""A question, and the text of an answer, whose call is lost before anything has come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from blockbuster import BlockBuster
from grpc import aio

from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.errors import UnreachableError
from libs.resilience import Allowance
from libs.telemetry import names
from libs.values import Quality
from services.orchestrator import __main__ as orchestrator
from tests.support.corpus import FACTS
from tests.support.mesh import MESH_TOKEN, Mesh, Setting, ask, open_mesh
from tests.support.provider.server import Provider

GENERATE, ANSWER = "GenerateText", "StreamAnswer"


class Losing(aio.ServerInterceptor):
    """Loses the first call of some methods, as a connection that breaks does."""

    def __init__(self) -> None:
        self.loses: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.priorities: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        service, _, name = handler_call_details.method.rpartition("/")
        if handler is None or handler.unary_stream is None or not service.startswith("/hasten."):
            return handler

        async def serve(request: Any, context: Any) -> Any:
            self.calls[name] += 1
            self.priorities[name] = dict(context.invocation_metadata()).get(names.PRIORITY)
            if name in self.loses:
                self.loses.remove(name)
                await context.abort(grpc.StatusCode.UNAVAILABLE, "as told")
            async for response in handler.unary_stream(request, context):
                yield response

        codec = handler.request_deserializer, handler.response_serializer
        return grpc.unary_stream_rpc_method_handler(serve, *codec)


@pytest.fixture
def losing() -> Losing:
    return Losing()


@pytest.fixture
async def mesh(
    redis_url: str,
    model_dir: Path,
    tmp_path: Path,
    provider: Provider,
    losing: Losing,
    no_blocking: BlockBuster,
) -> AsyncIterator[Mesh]:
    setting = Setting(
        redis_url, model_dir, tmp_path, provider_url=provider.url, interceptors=[losing]
    )
    async with open_mesh(setting, no_blocking) as opened:
        yield opened


async def test_a_text_whose_call_is_lost_before_its_first_message_is_asked_for_again(
    mesh: Mesh, losing: Losing
) -> None:
    losing.loses.add(GENERATE)
    told = await mesh.ask(FACTS[0].question)
    assert told.completed.quality is Quality.FULL
    assert losing.calls[GENERATE] == 2


async def test_without_an_allowance_the_passages_have_to_do(
    mesh: Mesh, losing: Losing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orchestrator, "open_allowance", lambda: Allowance(0, reserve=0))
    client = await mesh.add_orchestrator("mean")
    losing.loses.add(GENERATE)
    told = await ask(client, FACTS[0].question)
    assert told.completed.quality is Quality.EXTRACTIVE


async def test_a_question_whose_call_is_lost_before_its_first_message_is_asked_again(
    mesh: Mesh, losing: Losing, provider: Provider
) -> None:
    losing.loses.add(ANSWER)
    told = await mesh.ask(FACTS[0].question)
    assert told.completed.quality is Quality.FULL
    assert losing.calls[ANSWER] == 2
    assert len(provider.calls) == 1


async def test_without_an_allowance_the_caller_is_told(mesh: Mesh, losing: Losing) -> None:
    losing.loses.add(ANSWER)
    address, allowance = mesh.rooms["orchestrator"].address, Allowance(0, reserve=0)
    async with Connection.open(address, token=MESH_TOKEN, allowance=allowance) as connection:
        with pytest.raises(UnreachableError):
            await ask(AnswerClient(connection), FACTS[0].question)
    assert losing.calls[ANSWER] == 1


async def test_what_is_read_of_documents_goes_behind_what_people_wait_for(
    mesh: Mesh, losing: Losing
) -> None:
    assert losing.priorities["StreamEmbeddings"] == "background"  # the mesh has ingested
    await mesh.ask(FACTS[0].question)
    assert losing.priorities[ANSWER] is None
    assert losing.priorities["SearchPassages"] is None
