"""From `python -m services.<name>` to a serving, then a drained, process."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from libs.config import ConfigError, ServiceConfig, load
from libs.resilience import Admission, Codel, Limiter
from libs.resilience.admission import Cost
from libs.server.identity import Identities
from libs.server.interceptor import Guard
from libs.telemetry import serve_metrics, set_up_logs, set_up_telemetry
from libs.tls import keep_renewed, server_credentials

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Two processes on one port would each get half of the calls, unnoticed.
    ("grpc.so_reuseport", 0),
    # Our clients ping to notice dead peers; without leave they would be cut off.
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)
_LOG = logging.getLogger(__name__)


async def _nothing() -> None:
    return None


def _no_drain() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Served:
    """What a process serves.

    Attributes:
        name: full proto name of the service, also its name in health.
        register: attaches the servicers to a server.
        warm: makes the service ready; it is healthy once this has returned.
        drain: tells calls that never end by themselves to do so.
        open_services: full names of services beside it that need no identity.
        watches: methods, `package.Service/Method`, whose calls last as long as their caller
            likes; they take no room from the others.
        costs: by method, what a request counts for in the limit, at least 1; 1 without.
    """

    name: str
    register: Callable[[aio.Server], None]
    warm: Callable[[], Awaitable[None]] = _nothing
    drain: Callable[[], None] = _no_drain
    open_services: Sequence[str] = ()
    watches: Collection[str] = ()
    costs: Mapping[str, Cost] = field(default_factory=dict)


Config = TypeVar("Config", bound=ServiceConfig)
Build = Callable[[Config], AbstractAsyncContextManager[Served]]


def run(kind: type[Config], build: Build[Config]) -> None:
    """Read the settings, build, and serve until SIGTERM or SIGINT; then drain and return.

    A setting that does not fit ends the process with a line that says why.

    Args:
        kind: the service's settings.
        build: makes the service's parts from them, and ends them again.
    """
    service = kind.__name__.removesuffix("Config").lower()
    try:
        config = load(kind)
        # Read before the loop runs; it is kept.
        is_encrypted = config.tls is not None
    except ConfigError as error:
        sys.exit(f"{service}: {error}")
    set_up_logs(service, config.log_level)
    telemetry = set_up_telemetry(service)
    _LOG.info("speaks %s", "mTLS" if is_encrypted else "plain text")
    try:
        serve_metrics(config.metrics_address)
        asyncio.run(_serve(config, partial(build, config)))
    except ConfigError as error:
        sys.exit(f"{service}: {error}")
    finally:
        telemetry.close()


async def _serve(
    config: ServiceConfig, build: Callable[[], AbstractAsyncContextManager[Served]]
) -> None:
    stopping = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stopping.set)
    async with build() as served:
        server, status = make_server(served, config)
        # Our clients watch the health of the server as a whole, and wait for it.
        await status.set(health.OVERALL_HEALTH, health_pb2.HealthCheckResponse.NOT_SERVING)
        port = _listen(server, config)
        await server.start()
        _announce(config, port)
        probed = await _serve_health(status, config.health_address)
        renewing = asyncio.create_task(keep_renewed(config.tls)) if config.tls else None
        warming = asyncio.create_task(_warm(served, status))
        stop = asyncio.create_task(stopping.wait())
        await asyncio.wait({warming, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.is_set():
            await warming  # raises what went wrong, which ends the process
            await stop
        warming.cancel()
        await _drain(server, status, served, config)
        if probed is not None:
            await probed.stop(None)
        if renewing is not None:
            renewing.cancel()


def _listen(server: aio.Server, config: ServiceConfig) -> int:
    if config.tls is None:
        return server.add_insecure_port(config.address)
    return server.add_secure_port(config.address, server_credentials(config.tls))


async def _serve_health(status: health.aio.HealthServicer, address: str) -> aio.Server | None:
    """Serve health alone and in plain text, for probes that have no certificate."""
    if not address:
        return None
    server = aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    server.add_insecure_port(address)
    await server.start()
    return server


async def _warm(served: Served, status: health.aio.HealthServicer) -> None:
    await served.warm()
    # What is loaded now stays: later collections need not walk through it again.
    gc.collect()
    gc.freeze()
    # A call makes thousands of small objects and no cycles: by default a collection would
    # run every few calls, in their time.
    gc.set_threshold(50_000, 20, 20)
    for name in (health.OVERALL_HEALTH, served.name):
        await status.set(name, health_pb2.HealthCheckResponse.SERVING)
    _LOG.info("%s is ready", served.name)


async def _drain(
    server: aio.Server, status: health.aio.HealthServicer, served: Served, config: ServiceConfig
) -> None:
    _LOG.info("%s drains", served.name)
    # Not ready first, so that no new call is routed here while the old ones end.
    await status.enter_graceful_shutdown()
    served.drain()
    await asyncio.sleep(config.drain_s)
    await server.stop(config.grace_s)


def make_server(
    served: Served, config: ServiceConfig
) -> tuple[aio.Server, health.aio.HealthServicer]:
    """Return a guarded server with health and reflection; not ready, not listening.

    Raises:
        ConfigError: it would listen to other machines without asking who calls.
    """
    identities = Identities.from_file(config.identities_file)
    if not _is_local(config.address):
        _check_openness(config, identities)
    guard = Guard(
        identities,
        admission=_admission(served, config),
        open_services=served.open_services,
    )
    server = aio.server(interceptors=[guard], options=OPTIONS)
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    served.register(server)
    names = (served.name, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return server, status


def _check_openness(config: ServiceConfig, identities: Identities) -> None:
    where = f"address {config.address!r} is open to other machines"
    if identities.is_open:
        raise ConfigError(f"{where}: HASTEN_IDENTITIES_FILE is required")
    if config.tls is None and not config.allow_plaintext:
        raise ConfigError(f"{where}: HASTEN_TLS_CERTIFICATE or HASTEN_ALLOW_PLAINTEXT is required")


def _admission(served: Served, config: ServiceConfig) -> Admission:
    target_s, interval_s = config.queue_target_s, config.queue_interval_s
    return Admission(
        Limiter(config.max_concurrency, adapts=config.adaptive_limit),
        codel=Codel(target_s=target_s, interval_s=interval_s) if target_s else None,
        background_share=config.background_share,
        watches=served.watches,
        costs=served.costs,
    )


def _announce(config: ServiceConfig, port: int) -> None:
    host = config.address.rpartition(":")[0]
    address = config.address if config.address.startswith("unix:") else f"{host}:{port}"
    _LOG.info("listens on %s", address)


def _is_local(address: str) -> bool:
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
