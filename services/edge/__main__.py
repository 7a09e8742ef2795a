"""The edge process: `python -m services.edge`."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from prometheus_client import REGISTRY

from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.clients.health import HealthClient
from libs.clients.jobs import JobsClient
from libs.clients.retrieval import RetrievalClient
from libs.config import ConfigError, load
from libs.telemetry import serve_metrics, set_up_logs, set_up_telemetry
from services.edge.access.quotas import Quotas
from services.edge.access.setting_up import AccessFiles, open_access, read_access
from services.edge.answers.answering import Pace
from services.edge.answers.following import Follower
from services.edge.config import EdgeConfig
from services.edge.documents.limits import Limits
from services.edge.jobs.charging import Charging
from services.edge.jobs.desk import Desk
from services.edge.live.door import Door, Entrance
from services.edge.live.metrics import LiveMetrics
from services.edge.live.session import Terms
from services.edge.live.subjects import Subjects
from services.edge.operations import Parts, operations_of
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
    async with open_access(config, files) as access, AsyncExitStack() as stack:
        orchestrator = await _connect(config, config.orchestrator_target, stack)
        readiness = Readiness(HealthClient(orchestrator), timeout_s=config.ready_timeout_s)
        metrics, clock = EdgeMetrics(REGISTRY), time.monotonic
        streams = OpenStreams()
        front = Front(_rules(config), access.gate, access.quotas, metrics, clock)
        answers = AnswerClient(orchestrator)
        jobs = await _jobs(config, stack)
        desk = Desk(jobs, clock, access.quotas)
        if jobs is not None:
            await stack.enter_async_context(_charging(access.quotas, jobs))
        parts = Parts(
            answers=answers,
            pace=Pace(config.max_deadline_s, config.ping_every_s),
            metrics=metrics,
            clock=clock,
            now=time.time,
            quotas=access.quotas,
            streams=streams,
            tickets=access.tickets,
            desk=desk,
            retrieval=await _retrieval(config, stack),
            limits=_limits(config),
            origins=_origins(config),
            max_job_bytes=config.max_job_bytes,
            policies=tuple(config.models.replace(",", " ").split()),
        )
        subjects = Subjects(desk, Follower(answers, clock))
        live = LiveMetrics(REGISTRY)
        door = Door(front, subjects, _entrance(config), _terms(config), live, clock)
        app = make_app(front, operations_of(parts), readiness, REGISTRY, [door.route()])
        allow_origins(app, config.cors_origins)
        server = make_server(
            app,
            grace_s=config.grace_s,
            ping_every_s=config.ping_every_s,
            max_message_bytes=config.socket_message_bytes,
        )

        def drain() -> None:
            readiness.drain()
            desk.drain()
            streams.go_away(config.drain_s + config.grace_s)

        await serve_until(stopping, server, listening, drain, config.drain_s)


async def _connect(config: EdgeConfig, target: str, stack: AsyncExitStack) -> Connection:
    token = config.token.get_secret_value()
    return await stack.enter_async_context(Connection.open(target, token=token, tls=config.tls))


async def _jobs(config: EdgeConfig, stack: AsyncExitStack) -> JobsClient | None:
    if not config.jobs_target:
        return None
    return JobsClient(await _connect(config, config.jobs_target, stack))


@asynccontextmanager
async def _charging(quotas: Quotas, jobs: JobsClient) -> AsyncIterator[None]:
    """Charge for jobs while inside."""
    task = asyncio.create_task(Charging(quotas, jobs).keep())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _retrieval(config: EdgeConfig, stack: AsyncExitStack) -> RetrievalClient | None:
    if not config.retrieval_target:
        return None
    return RetrievalClient(await _connect(config, config.retrieval_target, stack))


def _limits(config: EdgeConfig) -> Limits:
    return Limits(
        config.max_file_bytes,
        config.max_upload_bytes,
        config.max_files,
        config.max_uploads,
        config.upload_timeout_s,
        config.max_tenant_uploads,
        config.min_upload_bytes_per_s,
    )


def _entrance(config: EdgeConfig) -> Entrance:
    return Entrance(_hosts(config), _origins(config), config.max_sockets)


def _terms(config: EdgeConfig) -> Terms:
    return Terms(
        subscriptions=config.socket_subscriptions,
        lag_s=config.socket_lag_s,
        idle_s=config.socket_idle_s,
        age_s=config.socket_age_s,
    )


def _origins(config: EdgeConfig) -> frozenset[str]:
    return frozenset(config.cors_origins.lower().replace(",", " ").split())


def _hosts(config: EdgeConfig) -> frozenset[str] | None:
    hosts = frozenset(config.hosts.lower().replace(",", " ").split())
    if hosts:
        return hosts
    return _LOCAL_HOSTS if _is_local(config) else None


def _rules(config: EdgeConfig) -> Rules:
    return Rules(
        hosts=_hosts(config),
        max_body_bytes=config.max_body_bytes,
        body_timeout_s=config.body_timeout_s,
        max_concurrency=config.max_concurrency,
        flow=Flow(buffer_bytes=config.stream_buffer_bytes, stall_s=config.slow_reader_s),
        max_streams=config.max_streams,
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
