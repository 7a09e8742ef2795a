"""From the settings to who may come in, and how much."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from libs.config import ConfigError
from libs.redislink import open_redis
from services.edge.access.caller import anyone
from services.edge.access.gate import Gate
from services.edge.access.keys import KeyFile, Keys, KeyTable
from services.edge.access.ledger import SharedLedger
from services.edge.access.quota import Plans, load_plans
from services.edge.access.quotas import Quotas
from services.edge.access.tickets import Tickets
from services.edge.access.tokens import Claims, KeySet, Tokens
from services.edge.config import EdgeConfig

_REDIS_TIMEOUT_S = 0.5
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Access:
    """Who may come in, and how much."""

    gate: Gate
    quotas: Quotas
    tickets: Tickets


@dataclass(frozen=True, slots=True)
class AccessFiles:
    """What the settings name, read before the event loop runs."""

    keys: KeyFile | None
    plans: Plans


def read_access(config: EdgeConfig, *, is_local: bool) -> AccessFiles:
    """Read the files, and check that what is set makes sense.

    Args:
        config: the settings.
        is_local: True if only this machine can reach the edge.

    Raises:
        ConfigError: a file cannot be read, or strangers could come in by oversight.
    """
    asks = bool(config.keys_file or config.keys_in_redis or config.jwks)
    if not asks and not is_local and not config.allow_open:
        raise ConfigError(
            f"address {config.address!r} is open to other machines: set EDGE_KEYS_FILE, "
            "EDGE_KEYS_IN_REDIS or EDGE_JWKS, or EDGE_ALLOW_OPEN=true to let everyone in"
        )
    if config.jwks and not (config.jwt_issuer and config.jwt_audience):
        raise ConfigError("EDGE_JWKS needs EDGE_JWT_ISSUER and EDGE_JWT_AUDIENCE")
    if config.keys_file and config.keys_in_redis:
        raise ConfigError("EDGE_KEYS_FILE and EDGE_KEYS_IN_REDIS: only one of them")
    if config.keys_in_redis and not config.redis_url:
        raise ConfigError("EDGE_KEYS_IN_REDIS needs EDGE_REDIS_URL")
    keys = KeyFile(config.keys_file) if config.keys_file else None
    return AccessFiles(keys, load_plans(config.quotas_file))


@asynccontextmanager
async def open_access(config: EdgeConfig, files: AccessFiles) -> AsyncIterator[Access]:
    """Yield who may come in, and how much."""
    redis = open_redis(config.redis_url, timeout_s=_REDIS_TIMEOUT_S) if config.redis_url else None
    try:
        tickets = Tickets(_secret(config))
        keys = _keys(config, files, redis)
        tokens = _tokens(config)
        asks = keys is not None or tokens is not None
        gate = Gate(None if asks else anyone(config.tenant), keys, tokens, tickets)
        ledger = SharedLedger(redis) if redis is not None else None
        yield Access(gate, Quotas(files.plans, ledger, replicas=config.replicas), tickets)
    finally:
        if redis is not None:
            await redis.aclose()


def _keys(config: EdgeConfig, files: AccessFiles, redis: Redis | None) -> Keys | None:
    if config.keys_in_redis and redis is not None:
        return KeyTable(redis)
    return files.keys


def _tokens(config: EdgeConfig) -> Tokens | None:
    if not config.jwks:
        return None
    claims = Claims(
        config.jwt_issuer,
        config.jwt_audience,
        config.jwt_tenant_claim,
        config.jwt_rights_claim,
        config.jwt_scopes_claim,
    )
    return Tokens(KeySet(config.jwks, time.monotonic), claims)


def _secret(config: EdgeConfig) -> bytes:
    """Return what tickets are signed with; one of its own serves a single replica."""
    given = config.ticket_secret.get_secret_value()
    return given.encode() if given else secrets.token_bytes(_SECRET_BYTES)
