"""The processes of a mesh on one machine: which there are, and how each is set up."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from cli.home import Home, Place, write_private
from cli.valkey import arguments, server_binary

# In the order of starting.
HEALTH_NAMES = {
    "traces": "hasten.traces.v1.TracesService",
    "embedding": "hasten.embedding.v1.EmbeddingService",
    "retrieval": "hasten.retrieval.v1.RetrievalService",
    "cache": "hasten.cache.v1.CacheService",
    "generation": "hasten.generation.v1.GenerationService",
    "orchestrator": "hasten.answer.v1.AnswerService",
    "jobs": "hasten.jobs.v1.JobsService",
    "worker": "hasten.jobs.v1.JobsWorker",
}
"""The processes, each with the service whose health says that it is ready."""
# Where the process of a service is, if not in the package of its name.
_PACKAGES = {"worker": "jobs.worker"}
_TARGETS = {
    "cache": ("retrieval", "embedding", "generation"),
    "retrieval": ("embedding",),
    "orchestrator": ("cache", "embedding", "retrieval", "generation", "jobs"),
    "worker": ("orchestrator", "embedding", "retrieval", "generation"),
    "edge": ("orchestrator", "jobs", "retrieval"),
}
_WITH_REDIS = ("cache", "orchestrator", "jobs", "worker")
_WITH_DATA = ("traces", "retrieval")


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the mesh.

    Attributes:
        name: what it is called in messages and logs.
        command: how it is started.
        env: its whole environment.
        address: where it listens, `host:port`.
        health: full name of the service that says when it is ready; empty if a process
            that accepts connections is ready.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    address: str
    health: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """All processes, in the order in which they are started, and where they will be."""

    processes: tuple[Process, ...]
    place: Place


def plan_layout(home: Home, *, edge_port: int = 0) -> Layout:
    """Lay out a whole mesh on free ports of the loopback interface.

    Args:
        home: where its state is kept; a token and identities are written there.
        edge_port: where HTTP is to be; 0 takes a free port.

    Raises:
        NoRedisError: no Redis is set and none can be started.
    """
    given_redis = os.environ.get("HASTEN_REDIS_URL")
    names = [*HEALTH_NAMES, "edge", *([] if given_redis else ["redis"])]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    ports["edge"] = edge_port or ports["edge"]
    addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    redis_url = given_redis or f"redis://{addresses['redis']}/0"
    token = _write_identities(home)
    common = _common_env(home, addresses)
    processes = [] if given_redis else [_redis(home, ports["redis"])]
    for name in (*HEALTH_NAMES, "edge"):
        env = common | _own_env(home, name, addresses, redis_url)
        command = (sys.executable, "-m", f"services.{_PACKAGES.get(name, name)}")
        processes.append(Process(name, command, env, addresses[name], HEALTH_NAMES.get(name, "")))
    shown = addresses | {"redis": redis_url, "edge": f"http://{addresses['edge']}"}
    return Layout(tuple(processes), Place(os.getpid(), token, shown))


def _redis(home: Home, port: int) -> Process:
    directory = home.data("redis")
    directory.mkdir(parents=True, exist_ok=True)
    command = (str(server_binary()), *arguments(port, directory))
    return Process("redis", command, dict(os.environ), f"127.0.0.1:{port}")


def _common_env(home: Home, addresses: Mapping[str, str]) -> dict[str, str]:
    own = {
        "HASTEN_TOKEN_FILE": str(home.token),
        "HASTEN_IDENTITIES_FILE": str(home.identities),
        "HASTEN_MODEL_DIR": str(home.model),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{addresses['traces']}",
        "PYTHONUNBUFFERED": "1",
    }
    return {**own, **os.environ} | {key: own[key] for key in own if key.startswith("HASTEN_")}


def _own_env(home: Home, name: str, addresses: Mapping[str, str], redis_url: str) -> dict[str, str]:
    prefix = _PACKAGES.get(name, name).replace(".", "_").upper()
    env = {f"{prefix}_ADDRESS": addresses[name]}
    for target in _TARGETS.get(name, ()):
        env[f"{prefix}_{target.upper()}_TARGET"] = addresses[target]
    if name in _WITH_REDIS:
        env[f"{prefix}_REDIS_URL"] = redis_url
    if name in _WITH_DATA:
        env[f"{prefix}_DATA_DIR"] = str(home.data(name))
    if name == "embedding":
        env["EMBEDDING_MODEL_DIR"] = str(home.model)
    if name == "orchestrator":
        env["ORCHESTRATOR_SKETCHES_FILE"] = str(home.data(name) / "latencies")
    if name == "traces":
        # Its own spans would come back to it, and make more of them.
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = ""
    return env


def _write_identities(home: Home) -> str:
    """Make the token that the mesh and this machine's user share; return it."""
    home.log("any").parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_urlsafe(32)
    write_private(home.token, token)
    digest = hashlib.sha256(token.encode()).hexdigest()
    row = {"name": "mesh", "token_sha256": digest, "tenants": ["*"]}
    write_private(home.identities, json.dumps([row]))
    return token


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
