"""JSON Web Tokens of an identity provider, checked by its published keys."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import jwt

from services.edge.access.caller import ALL, RIGHTS, Caller
from services.edge.problem import Problem, ProblemError

_LOG = logging.getLogger(__name__)
# Those with a key that may be published: with a shared secret, whoever can check could forge.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
_LEEWAY_S = 30
_FETCH_LIMIT_S = 5.0
# Someone who sends tokens with made-up key ids must not have us ask the provider each time.
_FETCH_AT_MOST_EVERY_S = 10.0
_FRESH_FOR_S = 600.0
_MOST_BYTES = 1_000_000
_TENANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Claims:
    """Where a token says what.

    Attributes:
        issuer: who must have made it.
        audience: whom it must be for.
        tenant: the claim with the tenant.
        rights: the claim with the rights: words, or a list of them.
        document_scopes: the claim with the document scopes, in the same form.
    """

    issuer: str
    audience: str
    tenant: str = "tenant"
    rights: str = "scope"
    document_scopes: str = "document_scopes"


class KeySet:
    """The provider's keys (RFC 7517), read again when a token names one that is not known."""

    def __init__(self, place: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Know no key yet.

        Args:
            place: a URL, or the path of a file.
            clock: seconds that only go forward.
        """
        self._place = place
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._tried_s: float | None = None
        self._read_s: float | None = None
        self._failed = False
        self._one_at_a_time = asyncio.Lock()
        self._renewing: asyncio.Task[None] | None = None

    async def key(self, key_id: str) -> jwt.PyJWK | None:
        """Return a key; None if the provider has none of that id.

        Raises:
            ProblemError: the provider does not answer, and the key was not known before.
        """
        if key_id not in self._keys:
            await self._renewed(key_id)
        elif self._is_old() and (self._renewing is None or self._renewing.done()):
            # A provider that hangs must hold up nobody whose key is known.
            self._renewing = asyncio.create_task(self._renewed(key_id))
        key = self._keys.get(key_id)
        if key is None and self._failed:
            detail = "Tokens cannot be checked now; try again later."
            problem = Problem(503, "ISSUER_UNAVAILABLE", detail, "", _FETCH_AT_MOST_EVERY_S)
            raise ProblemError(problem)
        return key

    def _is_old(self) -> bool:
        return self._read_s is None or self._clock() - self._read_s > _FRESH_FOR_S

    async def _renewed(self, key_id: str) -> None:
        async with self._one_at_a_time:
            await self._renew(key_id)

    async def _renew(self, key_id: str) -> None:
        if key_id in self._keys and not self._is_old():
            return
        now_s = self._clock()
        if self._tried_s is not None and now_s - self._tried_s < _FETCH_AT_MOST_EVERY_S:
            return
        self._tried_s = now_s
        try:
            self._keys = await asyncio.to_thread(_fetch, self._place)
        except (OSError, ValueError, HTTPException) as error:
            self._failed = True
            _LOG.warning("the keys of the token issuer stay as they were: %s", error)
        else:
            self._failed, self._read_s = False, now_s


class Tokens:
    """Knows callers by their tokens."""

    def __init__(self, keys: KeySet, claims: Claims) -> None:
        self._keys = keys
        self._claims = claims

    async def caller_of(self, token: str) -> Caller:
        """Return who a token stands for.

        Raises:
            jwt.PyJWTError: it is not valid.
            ProblemError: that cannot be known now.
        """
        header = jwt.get_unverified_header(token)
        key = await self._keys.key(str(header.get("kid", "")))
        if key is None:
            raise jwt.InvalidKeyError("the key is not known")
        said = jwt.decode(
            token,
            key,
            algorithms=list(ALGORITHMS),
            issuer=self._claims.issuer,
            audience=self._claims.audience,
            leeway=_LEEWAY_S,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        return self._caller(said)

    def _caller(self, said: Mapping[str, Any]) -> Caller:
        tenant = said.get(self._claims.tenant)
        if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
            raise jwt.MissingRequiredClaimError(self._claims.tenant)
        rights = _words(said.get(self._claims.rights)) & (RIGHTS | {ALL})
        scopes = _words(said.get(self._claims.document_scopes))
        return Caller(tenant, f"subject {said['sub']}", rights, scopes)


def _words(claim: object) -> frozenset[str]:
    if isinstance(claim, str):
        return frozenset(claim.split())
    return frozenset(map(str, claim)) if isinstance(claim, list) else frozenset()


def _fetch(place: str) -> dict[str, jwt.PyJWK]:
    if place.startswith(("https://", "http://")):
        with urllib.request.urlopen(place, timeout=_FETCH_LIMIT_S) as response:  # noqa: S310
            text = response.read(_MOST_BYTES)
    else:
        text = Path(place).read_bytes()
    found = json.loads(text)
    rows = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise ValueError("no set of keys")  # noqa: TRY004 - a value of the provider's
    read = ((str(row.get("kid", "")), _key(row)) for row in rows if isinstance(row, dict))
    return {key_id: key for key_id, key in read if key is not None}


def _key(row: dict[str, Any]) -> jwt.PyJWK | None:
    """Return a key; None for what we do not take: of another use, shared, or of a new kind."""
    if row.get("use", "sig") != "sig" or row.get("kty") == "oct":
        return None
    try:
        return jwt.PyJWK(row)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        _LOG.warning("key %s of the token issuer is left out: %s", row.get("kid"), error)
        return None
