"""The edge process: `python -m services.edge`."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import sys
import time

from prometheus_client import REGISTRY

from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.clients.health import HealthClient
from libs.config import ConfigError, load
from libs.telemetry import serve_metrics, set_up_logs, set_up_telemetry
from services.edge.access import ticketing
from services.edge.access.setting_up import AccessFiles, open_access, read_access
from services.edge.answers.answering import Pace
from services.edge.answers.asking import Asking
from services.edge.answers.running import Running
from services.edge.config import EdgeConfig
from services.edge.web.app import make_app
from services.edge.web.cors import allow_origins
from services.edge.web.draining import OpenStreams
from services.edge.web.front import Front, Rules
from services.edge.web.metrics import EdgeMetrics
from services.edge.web.readiness import Readiness
from services.edge.web.server import bind, make_server, serve_until
from services.edge.web.sse import Flow

_LOG = logging.getLogger(__name__)
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


def main() -> None:
    """Build every part once, by hand, and serve."""
    try:
        config = load(EdgeConfig)
        set_up_logs("edge", config.log_level)
        _ = config.tls  # read before the loop runs; it is kept
        files = read_access(config, is_local=_is_local(config))
        listening = bind(config.address, silent_s=config.slow_reader_s)
    except ConfigError as error:
        sys.exit(f"edge: {error}")
    telemetry = set_up_telemetry("edge")
    try:
        serve_metrics(config.metrics_address)
        _announce(config, listening)
        asyncio.run(_serve(config, files, listening))
    finally:
        telemetry.close()


async def _serve(config: EdgeConfig, files: AccessFiles, listening: socket.socket) -> None:
    stopping = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stopping.set)
    token = config.token.get_secret_value()
    opened = Connection.open(config.orchestrator_target, token=token, tls=config.tls)
    async with opened as orchestrator, open_access(config, files) as access:
        readiness = Readiness(HealthClient(orchestrator), timeout_s=config.ready_timeout_s)
        metrics, clock = EdgeMetrics(REGISTRY), time.monotonic
        streams = OpenStreams()
        front = Front(_rules(config), access.gate, access.quotas, metrics, clock)
        pace = Pace(config.max_deadline_s, config.ping_every_s)
        answers = AnswerClient(orchestrator)
        asking = Asking(answers, pace, metrics, clock, access.quotas, streams)
        running = Running(answers, pace, clock, streams)
        operations = (
            *asking.operations(),
            *running.operations(),
            *ticketing.operations(access.tickets),
        )
        app = make_app(front, operations, readiness, REGISTRY)
        allow_origins(app, config.cors_origins)
        server = make_server(app, grace_s=config.grace_s)

        def drain() -> None:
            readiness.drain()
            streams.go_away(config.drain_s + config.grace_s)

        await serve_until(stopping, server, listening, drain, config.drain_s)


def _rules(config: EdgeConfig) -> Rules:
    hosts: frozenset[str] | None = frozenset(config.hosts.lower().replace(",", " ").split())
    if not hosts:
        hosts = _LOCAL_HOSTS if _is_local(config) else None
    return Rules(
        hosts=hosts,
        max_body_bytes=config.max_body_bytes,
        body_timeout_s=config.body_timeout_s,
        max_concurrency=config.max_concurrency,
        flow=Flow(buffer_bytes=config.stream_buffer_bytes, stall_s=config.slow_reader_s),
    )


def _is_local(config: EdgeConfig) -> bool:
    host = config.address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _announce(config: EdgeConfig, listening: socket.socket) -> None:
    address = f"{config.address.rpartition(':')[0]}:{listening.getsockname()[1]}"
    _LOG.info("listens on %s", address)
    if config.allow_open and not _is_local(config):
        _LOG.warning("other machines may ask, and nobody is asked who they are")


if __name__ == "__main__":
    main()
