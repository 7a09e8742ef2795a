"""API keys: how they look, how they are kept, and where the edge finds them.

A key is `hst_<id>_<secret>`. What is kept is the SHA-256 of the whole: a secret of 256 random bits
cannot be guessed, so nothing is gained by a slow hash, which is made for passwords.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from libs.config import ConfigError
from services.edge.access.caller import ALL, RIGHTS, Caller
from services.edge.access.quota import Quota
from services.edge.problem import Problem, ProblemError

TABLE = "hasten:edge:keys"
"""The hash in Redis that has a row for each key, by its id."""
_LOG = logging.getLogger(__name__)
_PREFIX = "hst"
_ID_BYTES = 6
_SECRET_BYTES = 32
_LOOK_EVERY_S = 1.0
_KNOWN_FOR_S = 5.0
_KNOWN_ALONE_S = 600.0
_PAUSE_S = 1.0
_MOST_KNOWN = 10_000
# Ids are remembered, those that strangers make up as well.
_MOST_ID_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class KeyRow:
    """What is kept of a key.

    Attributes:
        key_id: the part of the key that may be shown.
        digest: SHA-256 of the key, in hex.
        caller: who it stands for.
        begins_s: Unix time from which it is taken; 0 is always.
        ends_s: Unix time until which; None is for ever.
        disabled: True if it is not taken at all.
    """

    key_id: str
    digest: str
    caller: Caller
    begins_s: float = 0.0
    ends_s: float | None = None
    disabled: bool = False

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Self:
        """Read a row as it stands in a file or in Redis.

        Raises:
            ValueError: something is missing or of another form; the message names it.
        """
        try:
            rights = frozenset(map(str, row.get("rights", [ALL])))
            if not rights <= RIGHTS | {ALL}:
                raise ValueError(f"rights: {min(rights - RIGHTS - {ALL})} is none")
            scopes = frozenset(map(str, row.get("document_scopes", [ALL])))
            quota = Quota.of(row.get("quota", {}))
            caller = Caller(str(row["tenant"]), f"key {row['id']}", rights, scopes, quota)
            begins_s, ends_s = _time_of(row.get("not_before")), _time_of(row.get("expires"))
            disabled = bool(row.get("disabled", False))
            return cls(
                str(row["id"]), str(row["sha256"]), caller, begins_s or 0.0, ends_s, disabled
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a key's row: {error!r}") from error

    def holds(self, key: str, now_s: float) -> bool:
        """Return whether this is the row of `key`, and it may be used now."""
        right = hmac.compare_digest(self.digest, digest_of(key))
        lives = self.begins_s <= now_s and (self.ends_s is None or now_s < self.ends_s)
        return right and lives and not self.disabled


class Keys(Protocol):
    """Where keys are found."""

    async def row_of(self, key_id: str) -> KeyRow | None:
        """Return a key's row; None if there is none.

        Raises:
            ProblemError: that cannot be known now.
        """


class KeyFile:
    """Keys of a JSON file, which may be replaced; content that cannot be read changes nothing."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            ConfigError: it cannot be read, or a row has another form.
        """
        self._path = path
        self._clock = clock
        try:
            self._rows, self._stamp = _read(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"EDGE_KEYS_FILE={str(path)!r}: {error}") from error
        self._looked_s = clock()

    async def row_of(self, key_id: str) -> KeyRow | None:
        """Return a key's row; None if there is none."""
        if self._clock() - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = self._clock()
            await asyncio.to_thread(self._renew)
        return self._rows.get(key_id)

    def _renew(self) -> None:
        try:
            if _stamp_of(self._path) != self._stamp:
                self._rows, self._stamp = _read(self._path)
                _LOG.info("%d keys", len(self._rows))
        except (OSError, ValueError) as error:
            _LOG.warning("the keys stay as they were: %s", error)


class KeyTable:
    """Keys of a hash in Redis; a row that was read is known for 5 s.

    While Redis is gone it is known for 10 minutes: a key that is revoked then is taken until
    Redis is back, or they are over.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        limit_s: float = 0.25,
        known_for_s: float = _KNOWN_FOR_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read rows when they are first asked for.

        Args:
            redis: where they are.
            limit_s: seconds that a read may take.
            known_for_s: seconds for which a row is not read again: until then a key that was
                revoked is still taken.
            clock: seconds that only go forward.
        """
        self._redis: Any = redis
        self._limit_s = limit_s
        self._known_for_s = known_for_s
        self._clock = clock
        self._alone_until_s = float("-inf")
        self._known: OrderedDict[str, tuple[float, KeyRow | None]] = OrderedDict()

    async def row_of(self, key_id: str) -> KeyRow | None:
        """Return a key's row; None if there is none.

        Raises:
            ProblemError: Redis does not answer, and the key was not asked for before.
        """
        read_s, row = self._known.get(key_id, (None, None))
        now_s = self._clock()
        if read_s is not None and now_s - read_s < self._known_for_s:
            self._known.move_to_end(key_id)
            return row
        try:
            found = await self._ask(key_id)
        except (RedisError, OSError, TimeoutError) as error:
            self._alone_until_s = max(self._alone_until_s, now_s + _PAUSE_S)
            if row is not None and read_s is not None and now_s - read_s < _KNOWN_ALONE_S:
                return row
            detail = "Keys cannot be looked up now; try again later."
            raise ProblemError(Problem(503, "KEYS_UNAVAILABLE", detail, "", _PAUSE_S)) from error
        row = _parsed(key_id, found)
        self._known[key_id] = (self._clock(), row)
        self._known.move_to_end(key_id)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return row

    async def _ask(self, key_id: str) -> bytes | None:
        if self._clock() < self._alone_until_s:
            raise TimeoutError
        async with asyncio.timeout(self._limit_s):
            found: bytes | None = await self._redis.hget(TABLE, key_id)
            return found


def make_key() -> tuple[str, str]:
    """Return a new key and its id."""
    key_id = secrets.token_hex(_ID_BYTES)
    return f"{_PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}", key_id


def id_of(key: str) -> str:
    """Return the id of a key; empty if it is not of a key's form."""
    prefix, _, rest = key.partition("_")
    key_id, _, secret = rest.partition("_")
    is_one = prefix == _PREFIX and secret and len(key_id) <= _MOST_ID_CHARACTERS
    return key_id if is_one else ""


def digest_of(key: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def _parsed(key_id: str, found: bytes | None) -> KeyRow | None:
    if found is None:
        return None
    try:
        return KeyRow.read(json.loads(found))
    except ValueError as error:
        _LOG.warning("key %s is not taken: %s", key_id, error)
        return None


def _read(path: Path) -> tuple[dict[str, KeyRow], tuple[int, int, int]]:
    stamp = _stamp_of(path)
    rows = json.loads(path.read_text("utf-8"))
    if not isinstance(rows, list):
        raise ValueError("must be a list of rows")  # noqa: TRY004 - a value of the file
    return {row.key_id: row for row in map(KeyRow.read, rows)}, stamp


def _stamp_of(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _time_of(text: str | None) -> float | None:
    """Return the Unix time of an ISO 8601 time; one without a zone is UTC."""
    if text is None:
        return None
    moment = dt.datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
