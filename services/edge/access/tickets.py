"""Tickets: a caller's rights for a minute, in a URL, where a browser can send no header.

An `EventSource` or a `WebSocket` of a page cannot carry a key, and a key in a URL ends up in
logs. A ticket is worth nothing a minute later.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import astuple

from services.edge.access.caller import Caller
from services.edge.access.quota import Quota

LIVES_S = 60.0
PARAMETER = "ticket"


class Tickets:
    """Makes tickets and knows its own, on every replica that has the same secret."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        """Sign with `secret`; `clock` is Unix time, which replicas share."""
        self._secret = secret
        self._clock = clock

    def issue(self, caller: Caller) -> str:
        """Return a ticket for what a caller may do."""
        said = [
            round(self._clock() + LIVES_S, 3),
            caller.tenant_id,
            caller.name,
            sorted(caller.rights),
            sorted(caller.document_scopes),
            list(astuple(caller.quota)),
        ]
        body = _encoded(json.dumps(said, separators=(",", ":")).encode())
        return f"{body}.{self._seal(body)}"

    def caller_of(self, ticket: str) -> Caller | None:
        """Return who a ticket is of; None if it is not ours, or its time is over."""
        body, _, seal = ticket.partition(".")
        if not hmac.compare_digest(seal.encode(), self._seal(body).encode()):
            return None
        try:
            ends_s, tenant_id, name, rights, scopes, quota = json.loads(_decoded(body))
        except (ValueError, binascii.Error):
            return None
        if ends_s < self._clock():
            return None
        return Caller(tenant_id, name, frozenset(rights), frozenset(scopes), Quota(*quota))

    def _seal(self, body: str) -> str:
        return _encoded(hmac.digest(self._secret, body.encode(), hashlib.sha256))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
