import asyncio
import contextlib
import socket

import pytest
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from libs.config import ConfigError
from services.edge.problem import ProblemError
from services.edge.web import server as servers
from services.edge.web.request import check_host
from services.edge.web.server import bind, make_server


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:http", "127.0.0.1:99999", "1.2.3.4:0"])
def test_an_address_that_cannot_be_had_is_a_config_error(address: str) -> None:
    with pytest.raises(ConfigError, match="cannot be listened on"):
        bind(address)


def test_an_address_that_is_taken_is_a_config_error() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="cannot be listened on"),
    ):
        bind(f"127.0.0.1:{taken.getsockname()[1]}")


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such limit")
def test_a_peer_that_confirms_nothing_is_left_after_a_while() -> None:
    with (
        bind("127.0.0.1:0", silent_s=7.0) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000
            # What the system keeps for a slow reader is bounded; it reserves twice as much.
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 128 * 1024


def request_for(host: str) -> Request:
    return Request({"type": "http", "headers": [(b"host", host.encode())]})


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:80", "[::1]:8080"])
def test_every_way_to_write_a_name_of_this_machine_is_taken(host: str) -> None:
    check_host(request_for(host), frozenset({"localhost", "127.0.0.1", "[::1]"}))


@pytest.mark.parametrize("host", ["", "evil.example", "localhost.evil.example", "[::1", "[bad]:1"])
def test_other_names_are_refused(host: str) -> None:
    names = frozenset({"localhost", "127.0.0.1", "[::1]x"})
    with pytest.raises(ProblemError):
        check_host(request_for(host), names)


def test_without_a_list_any_name_is_taken() -> None:
    check_host(request_for("answers.example"), None)


def test_no_write_of_a_response_waits_for_the_one_before_to_be_confirmed() -> None:
    with bind("127.0.0.1:0") as listening:
        with socket.create_connection(listening.getsockname()) as caller:
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            caller.close()


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer after longer than a head may take."""
    await asyncio.sleep(0.3)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


HEAD = b"GET / HTTP/1.1\r\nHost: here\r\n"


@pytest.mark.parametrize("sent", [b"", HEAD])
async def test_a_connection_that_sends_no_request_is_dropped(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(servers, "_HEAD_S", 0.1)
    with bind("127.0.0.1:0") as listening:
        server = make_server(slow, grace_s=1)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        address = listening.getsockname()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        asking, asker = await asyncio.open_connection(*address)
        asker.write(HEAD + b"\r\n")
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            # Who has asked is answered, however long that takes.
            assert (await asking.readline()).startswith(b"HTTP/1.1 204")
        writer.close()
        asker.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
