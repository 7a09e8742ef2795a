"""gRPC over mTLS: who is let in, and what a certificate that is replaced does to calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from blockbuster import BlockBuster
from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc

from hasten.embedding.v1 import embedding_service_pb2 as pb
from hasten.embedding.v1.embedding_service_pb2_grpc import (
    EmbeddingServiceServicer,
    EmbeddingServiceStub,
    add_EmbeddingServiceServicer_to_server,
)
from libs.clients import Connection
from libs.clients.rotating import RotatingChannel
from libs.config import ConfigError, ServiceConfig
from libs.errors import MeshError, MethodNotAllowedError, UnauthenticatedError, UnreachableError
from libs.resilience import open_admission
from libs.server import Guard, Identities, Identity, Served
from libs.server.bootstrap import OPTIONS, make_server
from libs.tls import TlsFiles, Watched, server_credentials
from tests.support.blocking import blocking
from tests.support.certificates import Authority, spiffe
from tests.support.waiting import until

METHOD = "hasten.embedding.v1.EmbeddingService/GetModel"
KNOWN = Identities(
    {},
    {
        spiffe("cache"): Identity("cache", frozenset({"*"}), frozenset({METHOD})),
        spiffe("idle"): Identity("idle", frozenset({"*"}), frozenset()),
    },
)


class Embedding(EmbeddingServiceServicer):
    async def GetModel(self, request: Any, context: Any) -> Any:
        await asyncio.sleep(0.001)
        return pb.GetModelResponse(name="a-model")

    async def StreamEmbeddings(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for _ in range(40):
            await asyncio.sleep(0.01)
            yield pb.StreamEmbeddingsResponse()


@asynccontextmanager
async def serving(watched: Watched, identities: Identities = KNOWN) -> AsyncIterator[str]:
    server = aio.server(
        interceptors=[Guard(identities, admission=open_admission(256))], options=OPTIONS
    )
    add_EmbeddingServiceServicer_to_server(Embedding(), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_secure_port("127.0.0.1:0", server_credentials(watched))
    await server.start()
    try:
        yield f"localhost:{port}"
    finally:
        await server.stop(None)


async def ask(connection: Connection) -> str:
    stub = EmbeddingServiceStub(connection.channel)
    response = await connection.unary(stub.GetModel, pb.GetModelRequest(), limit_s=5.0)
    return str(response.name)


Write = Callable[..., Watched]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make()


@pytest.fixture
def watched(authority: Authority, tmp_path: Path) -> Write:
    """Certificates of services, each in a folder of its own; made before the loop is guarded."""
    names = ("server", "cache", "idle", "stranger")
    made = {name: Watched(authority.write(tmp_path / name, name)) for name in names}
    late = authority.write(tmp_path / "late", "cache", expired=True)
    other = Authority.make().write(tmp_path / "other", "cache")
    for name, files in (("late", late), ("other", other)):
        # What a caller trusts is right; what it shows is not.
        files.authorities.write_bytes((tmp_path / "server/ca.crt").read_bytes())
        made[name] = Watched(files)
    return made.__getitem__


async def test_a_caller_with_the_right_certificate_is_served(watched: Write) -> None:
    async with (
        serving(watched("server")) as address,
        Connection.open(address, tls=watched("cache")) as connection,
    ):
        assert await ask(connection) == "a-model"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("stranger", UnauthenticatedError),  # of the same authority, but nobody knows it
        ("idle", MethodNotAllowedError),  # known, and allowed nothing
        ("late", UnreachableError),  # the handshake fails: expired
        ("other", UnreachableError),  # of another authority
    ],
)
async def test_others_are_refused(watched: Write, name: str, error: type[MeshError]) -> None:
    async with (
        serving(watched("server")) as address,
        Connection.open(address, tls=watched(name)) as connection,
    ):
        with pytest.raises(error):
            await ask(connection)


async def test_without_a_certificate_nobody_is_served(watched: Write) -> None:
    async with serving(watched("server")) as address:
        async with Connection.open(address) as plain:
            with pytest.raises(UnreachableError):
                await ask(plain)
        authorities = watched("server").pems.authorities
        shown = grpc.ssl_channel_credentials(authorities)
        async with aio.secure_channel(address, shown) as channel:
            with pytest.raises(aio.AioRpcError) as caught:
                await EmbeddingServiceStub(channel).GetModel(pb.GetModelRequest(), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_server_of_another_authority_is_not_spoken_to(
    watched: Write, tmp_path: Path
) -> None:
    async with (
        serving(watched("other")) as address,
        Connection.open(address, tls=watched("cache")) as connection,
    ):
        with pytest.raises(UnreachableError):
            await ask(connection)


def rotated(channel: aio.Channel) -> RotatingChannel:
    assert isinstance(channel, RotatingChannel)
    return channel


async def keep_asking(connection: Connection, until: asyncio.Event) -> int:
    """Ask again and again; any failure is the test's."""
    count = 0
    while not until.is_set():
        assert await ask(connection) == "a-model"
        count += 1
    return count


async def stream(connection: Connection) -> int:
    stub = EmbeddingServiceStub(connection.channel)
    request = pb.StreamEmbeddingsRequest()
    async with connection.stream(stub.StreamEmbeddings, request, limit_s=10.0) as messages:
        return len([message async for message in messages])


ALL_METHODS = Identities(
    {}, {spiffe("cache"): Identity("cache", frozenset({"*"}), frozenset({"*"}))}
)


async def test_certificates_are_replaced_under_load_and_no_call_fails(
    watched: Write, authority: Authority, tmp_path: Path
) -> None:
    server, caller = watched("server"), watched("cache")
    async with (
        serving(server, ALL_METHODS) as address,
        Connection.open(address, tls=caller) as connection,
    ):
        channel, over = rotated(connection.channel), asyncio.Event()
        asking = [asyncio.create_task(keep_asking(connection, over)) for _ in range(4)]
        streaming = asyncio.create_task(stream(connection))
        shown = set()
        for _ in range(5):
            await asyncio.sleep(0.05)
            shown.add(server.pems.certificate + caller.pems.certificate)
            await asyncio.to_thread(authority.write, tmp_path / "server", "server")
            await asyncio.to_thread(authority.write, tmp_path / "cache", "cache")
            await asyncio.to_thread(server.renew)
            await asyncio.to_thread(caller.renew)
            # A new channel shakes hands anew, and then the server shows its new one, too.
            channel.renew()
        await asyncio.sleep(0.05)
        over.set()
        counts = await asyncio.gather(*asking)
        assert await streaming == 40  # begun under the first certificate, ended under the last
        assert min(counts) > 0
        assert len(shown) == 5
        newest = await asyncio.to_thread((tmp_path / "server/tls.crt").read_bytes)
        assert server.pems.certificate == newest


async def test_a_channel_that_is_not_renewed_fails_once_its_authority_is_gone(
    watched: Write, tmp_path: Path
) -> None:
    server, caller = watched("server"), watched("cache")
    newer = Authority.make()
    async with serving(server) as address:
        await asyncio.to_thread(newer.write, tmp_path / "server", "server")
        await asyncio.to_thread(server.renew)
        # The control of the test above: what was shown before is worth nothing now.
        async with Connection.open(address, tls=caller) as connection:
            with pytest.raises(UnreachableError):
                await ask(connection)
            await asyncio.to_thread(newer.write, tmp_path / "cache", "cache")
            await asyncio.to_thread(caller.renew)
            rotated(connection.channel).renew()
            assert await ask(connection) == "a-model"


async def test_files_that_do_not_fit_together_change_nothing(
    watched: Write, tmp_path: Path
) -> None:
    caller = watched("cache")
    before = caller.pems
    key = tmp_path / "cache/tls.key"
    await asyncio.to_thread(key.write_bytes, watched("idle").pems.key)
    assert not await asyncio.to_thread(caller.renew)
    await asyncio.to_thread(key.unlink)
    assert not await asyncio.to_thread(caller.renew)
    assert caller.pems == before


def settings(**given: Any) -> ServiceConfig:
    return ServiceConfig(**given)


def test_plain_text_is_for_this_machine_alone_unless_it_is_allowed(
    tmp_path: Path, no_blocking: BlockBuster
) -> None:
    identities = tmp_path / "identities.json"
    identities.write_text("[]")
    served = Served("hasten.Nothing", lambda _: None)
    outside = {"address": "0.0.0.0:0", "identities_file": identities}

    async def make(config: ServiceConfig) -> None:
        make_server(served, config)

    with blocking(no_blocking):  # settings are read once, at the start
        with pytest.raises(ConfigError, match="HASTEN_TLS_CERTIFICATE or HASTEN_ALLOW_PLAINTEXT"):
            asyncio.run(make(settings(**outside)))
        asyncio.run(make(settings(**outside, allow_plaintext=True)))
        asyncio.run(make(settings()))


def test_a_part_of_a_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="all or none"):
        _ = settings(tls_key=tmp_path / "tls.key").tls
    missing = TlsFiles(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    with pytest.raises(ConfigError, match="HASTEN_TLS_CERTIFICATE="):
        _ = settings(
            tls_certificate=missing.certificate,
            tls_key=missing.key,
            tls_authorities=missing.authorities,
        ).tls


async def test_a_channel_looks_at_the_files_by_itself(
    watched: Write, authority: Authority, tmp_path: Path
) -> None:
    caller = watched("cache")
    opened: list[bytes] = []

    def open_with(shown: grpc.ChannelCredentials) -> aio.Channel:
        opened.append(caller.pems.certificate)
        return aio.secure_channel("localhost:1", shown)

    async def renewed() -> bool:
        return len(opened) > 1

    async with RotatingChannel(caller, open_with, look_every_s=0.01):
        await asyncio.to_thread(authority.write, tmp_path / "cache", "cache")
        await until(renewed, within_s=5.0)
    assert opened[0] != opened[1]
