"""What a URL says of where Redis is: one server, one behind Sentinels, or a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator

SENTINEL, CLUSTER = "redis+sentinel", "redis+cluster"
_SINGLE = ("redis", "rediss", "unix")
_SENTINEL_PORT, _CLUSTER_PORT = 26379, 6379


@dataclass(frozen=True, slots=True)
class Place:
    """Where Redis is.

    Attributes:
        kind: the scheme of the URL.
        nodes: host and port of each Sentinel, or of a few nodes of the cluster; none for
            one server, which redis-py finds by the URL itself.
        service: what the Sentinels call the server.
        database: its number; 0 in a cluster.
    """

    kind: str
    nodes: tuple[tuple[str, int], ...] = ()
    service: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def place_of(url: str) -> Place:
    """Return what a URL says.

    Raises:
        ValueError: it is of none of the forms that `open_redis` names.
    """
    parts = urlsplit(url)
    if parts.scheme in _SINGLE:
        return Place(parts.scheme)
    if parts.scheme not in (SENTINEL, CLUSTER):
        raise ValueError(f"must begin with redis://, rediss://, {SENTINEL}:// or {CLUSTER}://")
    is_cluster = parts.scheme == CLUSTER
    login, _, hosts = parts.netloc.rpartition("@")
    port = _CLUSTER_PORT if is_cluster else _SENTINEL_PORT
    nodes = tuple(_node(host, port) for host in hosts.split(","))
    service, _, database = parts.path.strip("/").partition("/")
    if is_cluster and service not in ("", "0"):
        raise ValueError("a cluster has no databases but 0")
    if not is_cluster and not service:
        raise ValueError(f"must name the service: {SENTINEL}://host:port,host:port/service/0")
    if not (database or "0").isdigit():
        raise ValueError(f"database {database!r} is no number")
    user, _, password = login.partition(":")
    return Place(
        parts.scheme,
        nodes,
        "" if is_cluster else unquote(service),
        int(database or 0),
        unquote(user) or None,
        unquote(password) or None,
    )


def _node(text: str, default_port: int) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "")
    if not host or not (port or "0").isdigit():
        raise ValueError(f"{text!r} is no host:port")
    return host, int(port or default_port)


def _checked(url: str) -> str:
    place_of(url)
    return url


def _checked_for_one(url: str) -> str:
    if place_of(url).kind == CLUSTER:
        raise ValueError("a cluster cannot hold this; name one server, or its Sentinels")
    return url


RedisUrl = Annotated[str, AfterValidator(_checked)]
"""The setting of a service that works with any Redis."""

OneRedisUrl = Annotated[str, AfterValidator(_checked_for_one)]
"""The setting of a service whose commands span names that a cluster would part."""
