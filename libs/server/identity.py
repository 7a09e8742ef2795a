"""Who may call, and for which tenants they may speak."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from libs.config import ConfigError
from libs.errors import (
    InvalidFieldError,
    MethodNotAllowedError,
    TenantNotAllowedError,
    UnauthenticatedError,
)

EVERY_TENANT = EVERYTHING = "*"
_BEARER = "Bearer "
_TENANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller that is known.

    Attributes:
        name: for logs and spans.
        tenants: those it may speak for; `*` is every one.
        methods: those it may call, `package.Service/Method` or `package.Service/*`; `*` is
            every one.
    """

    name: str
    tenants: frozenset[str]
    methods: frozenset[str] = frozenset({EVERYTHING})

    def check_method(self, method: str) -> None:
        """Refuse a method that this identity may not call.

        Raises:
            MethodNotAllowedError: it is not among them.
        """
        allowed = {EVERYTHING, method, f"{method.partition('/')[0]}/{EVERYTHING}"}
        if self.methods.isdisjoint(allowed):
            raise MethodNotAllowedError(
                f"{self.name} may not call {method}", identity=self.name, method=method
            )

    def check(self, tenant_id: str) -> None:
        """Refuse a tenant that this identity may not speak for.

        `*` as a tenant stands for all tenants, and needs an identity that has them all.

        Raises:
            InvalidFieldError: `tenant_id` is empty or not of a tenant's form.
            TenantNotAllowedError: it is another's.
        """
        if tenant_id != EVERY_TENANT and not _TENANT.fullmatch(tenant_id):
            problem = "must be 1 to 64 characters of letters, digits, '-', '_' and '.'"
            raise InvalidFieldError("tenant_id", problem, length=len(tenant_id))
        if tenant_id not in self.tenants and EVERY_TENANT not in self.tenants:
            raise TenantNotAllowedError(
                f"{self.name} may not speak for tenant {tenant_id}",
                identity=self.name,
                tenant_id=tenant_id,
            )


ANYONE = Identity("anyone", frozenset({EVERY_TENANT}))


class Identities:
    """The callers that a server knows: by the SHA-256 of their tokens, by their SPIFFE ids.

    Attributes:
        by_certificate: True if some are known by their certificates.
    """

    def __init__(
        self, by_digest: dict[str, Identity] | None, by_uri: dict[str, Identity] | None = None
    ) -> None:
        self._by_digest = by_digest
        self._by_uri = by_uri or {}
        self.by_certificate = bool(by_uri)
        self._by_header: dict[str, Identity] = {}

    @classmethod
    def open(cls) -> Self:
        """Know every caller, for every tenant: one machine, one person."""
        return cls(None)

    @classmethod
    def of(cls, known: Iterable[tuple[str, Identity]]) -> Self:
        """Know the callers of (token, identity) pairs."""
        return cls({_digest(token): identity for token, identity in known})

    @classmethod
    def from_file(cls, path: Path | None) -> Self:
        """Read a JSON list of callers; None opens to all.

        Each has a `name`, its `tenants`, and `token_sha256` or `spiffe_id`. `methods` are those
        that it may call: without them a token's owner may call all, and a certificate's none.

        Raises:
            ConfigError: the file cannot be read or has another form.
        """
        if path is None:
            return cls.open()
        try:
            rows = json.loads(path.read_text("utf-8"))
            return cls(
                {row["token_sha256"]: _identity(row, "*") for row in rows if _has_token(row)},
                {row["spiffe_id"]: _identity(row) for row in rows if not _has_token(row)},
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"HASTEN_IDENTITIES_FILE={str(path)!r}: {error!r}") from error

    @property
    def is_open(self) -> bool:
        """True if nobody is asked who they are."""
        return self._by_digest is None

    def of_call(self, header: str | None, uris: Iterable[str]) -> Identity:
        """Return who calls: the owner of the token if there is one, else of the certificate.

        Args:
            header: the `authorization` header.
            uris: the URIs of the caller's certificate, which was checked.

        Raises:
            UnauthenticatedError: neither is known.
        """
        if header is None:
            for uri in uris:
                known = self._by_uri.get(uri)
                if known is not None:
                    return known
        return self.of_header(header)

    def of_header(self, header: str | None) -> Identity:
        """Return who sent an `authorization` header.

        Raises:
            UnauthenticatedError: there is none, or its token is not known.
        """
        if self._by_digest is None:
            return ANYONE
        if header is None or not header.startswith(_BEARER):
            raise UnauthenticatedError("authorization: a bearer token is required")
        # Looked up by digest: how long that takes says nothing about a secret.
        identity = self._by_header.get(header)
        if identity is None:
            identity = self._by_digest.get(_digest(header.removeprefix(_BEARER)))
            if identity is None:
                raise UnauthenticatedError("authorization: the token is not known")
            self._by_header[header] = identity
        return identity


def _has_token(row: dict[str, object]) -> bool:
    return "token_sha256" in row


def _identity(row: dict[str, object], *methods: str) -> Identity:
    tenants, named = row["tenants"], row.get("methods", list(methods))
    if not isinstance(tenants, list) or not isinstance(named, list):
        raise TypeError("tenants and methods must be lists")
    return Identity(str(row["name"]), frozenset(map(str, tenants)), frozenset(map(str, named)))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
