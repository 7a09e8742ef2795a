"""A real Valkey for tests, on a free loopback port, that can be stopped and frozen."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cli.valkey import arguments, server_binary

_TRIES = 5


class Valkey:
    """A Valkey process; `start` after `kill` brings back the same, empty, server.

    `more` are arguments of the server, beside those that every one of hasten's has.
    """

    def __init__(self, directory: Path, *more: str) -> None:
        self._directory = directory
        self._more = more
        self.port = free_port()
        self._has_run = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, at another port if somebody else was quicker to take the first one."""
        for _ in range(_TRIES):
            self._process = subprocess.Popen(
                [server_binary(), *arguments(self.port, self._directory), *self._more],
                stdout=subprocess.DEVNULL,
            )
            if self._answers(self._process):
                self._has_run = True
                return
            if not self._has_run:
                self.port = free_port()
        raise TimeoutError(f"no Valkey at port {self.port} after {_TRIES} tries")

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        """Return whether it is this process that answers there, once it does or has ended."""
        end = time.monotonic() + 10
        while time.monotonic() < end and process.poll() is None:
            with suppress(OSError):
                if self.told("PING").startswith("+PONG"):
                    return process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        return False

    def flush(self) -> None:
        assert self.told("FLUSHALL").startswith("+OK")

    def told(self, command: str) -> str:
        """Return what the server says to a command, as it comes over the wire."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65_536).decode(errors="replace")

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _signal(self, sig: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(sig)


class Watched:
    """A master and its copy, behind a Sentinel that makes the copy the master if need be.

    One Sentinel is enough on one machine; where they run, there are three or more.
    """

    SERVICE = "hasten"

    def __init__(self, directory: Path) -> None:
        for name in ("master", "copy", "sentinel"):
            (directory / name).mkdir()
        self.master = Valkey(directory / "master")
        self.copy = Valkey(directory / "copy")
        self._directory = directory / "sentinel"
        self._port = free_port()
        self._sentinel: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self._port}/{self.SERVICE}/0"

    def start(self) -> None:
        self.master.start()
        self.copy.start()
        self.copy.told(f"REPLICAOF 127.0.0.1 {self.master.port}")
        # A Sentinel learns of copies when it first looks, and then only every ten seconds.
        _wait_until("a copy", lambda: "master_link_status:up" in self.copy.told("INFO replication"))
        _wait_until("a master", lambda: "state=online" in self.master.told("INFO replication"))
        config = self._directory / "sentinel.conf"
        config.write_text(
            f"port {self._port}\nbind 127.0.0.1\ndir {self._directory}\nloglevel warning\n"
            f"sentinel monitor {self.SERVICE} 127.0.0.1 {self.master.port} 1\n"
            f"sentinel down-after-milliseconds {self.SERVICE} 500\n"
            f"sentinel failover-timeout {self.SERVICE} 3000\n"
        )
        self._sentinel = subprocess.Popen(
            [server_binary(), str(config), "--sentinel"], stdout=subprocess.DEVNULL
        )
        _wait_until_listening(self._port)
        _wait_until("a Sentinel", lambda: f"{self.copy.port}" in self._told_of_copies())

    def stop(self) -> None:
        if self._sentinel is not None:
            self._sentinel.kill()
            self._sentinel.wait()
        for server in (self.copy, self.master):
            server.thaw()
            server.kill()

    def _told_of_copies(self) -> str:
        with socket.create_connection(("127.0.0.1", self._port), timeout=5) as connection:
            connection.sendall(f"SENTINEL REPLICAS {self.SERVICE}\r\n".encode())
            return connection.recv(65_536).decode(errors="replace")


def clustered(directory: Path) -> Valkey:
    """Return a started cluster of one node, which has all slots."""
    server = Valkey(directory, "--cluster-enabled", "yes")
    server.start()
    assert server.told("CLUSTER ADDSLOTSRANGE 0 16383").startswith("+OK")
    _wait_until("a cluster", lambda: "cluster_state:ok" in server.told("CLUSTER INFO"))
    return server


class Cluster:
    """Three masters that share the slots, without copies."""

    _COUNT, _SLOTS = 3, 16_384

    def __init__(self, directory: Path) -> None:
        self.nodes: list[Valkey] = []
        self._buses: list[int] = []
        for number in range(self._COUNT):
            (directory / f"node-{number}").mkdir()
            bus = free_port()
            more = ("--cluster-enabled", "yes", "--cluster-port", str(bus))
            self.nodes.append(Valkey(directory / f"node-{number}", *more))
            self._buses.append(bus)

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def start(self) -> None:
        for number, node in enumerate(self.nodes):
            node.start()
            first, after = (self._SLOTS * n // self._COUNT for n in (number, number + 1))
            assert node.told(f"CLUSTER ADDSLOTSRANGE {first} {after - 1}").startswith("+OK")
            assert node.told(f"CLUSTER SET-CONFIG-EPOCH {number + 1}").startswith("+OK")
        for node, bus in zip(self.nodes[1:], self._buses[1:], strict=True):
            assert self.nodes[0].told(f"CLUSTER MEET 127.0.0.1 {node.port} {bus}").startswith("+OK")
        for node in self.nodes:
            _wait_until("a cluster", lambda: self._is_whole(node))  # noqa: B023

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()

    def _is_whole(self, node: Valkey) -> bool:
        info = node.told("CLUSTER INFO")
        return "cluster_state:ok" in info and f"cluster_known_nodes:{self._COUNT}" in info


def _wait_until(what: str, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} is not there after 10 s")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_listening(port: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    msg = f"nothing listens on port {port} after 10 s"
    raise TimeoutError(msg)
