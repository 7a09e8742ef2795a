"""Who a caller is: by key, by token, by ticket, or anyone where nobody is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import jwt
from starlette.datastructures import Headers, QueryParams

from services.edge.access.caller import Caller
from services.edge.access.keys import Keys, id_of
from services.edge.access.tickets import PARAMETER, Tickets
from services.edge.access.tokens import Tokens
from services.edge.problem import Problem, ProblemError

SUBPROTOCOL = "hasten.key."
"""What a page puts before its key among a WebSocket's subprotocols: it can set no header."""
_BEARER = "bearer "
_JWT_DOTS = 2


@dataclass(frozen=True, slots=True)
class Gate:
    """Knows callers by what they show.

    Attributes:
        anyone: who everyone is; None has callers say who they are.
        keys: where API keys are found, if any are taken.
        tokens: checks tokens of an identity provider, if any are taken.
        tickets: knows tickets of ours.
        clock: Unix time, by which keys begin and end.
    """

    anyone: Caller | None = None
    keys: Keys | None = None
    tokens: Tokens | None = None
    tickets: Tickets | None = None
    clock: Callable[[], float] = time.time

    async def caller_of(self, headers: Headers, query: QueryParams | None = None) -> Caller:
        """Return who sent a request.

        Raises:
            ProblemError: nobody that is known (401), or that cannot be known now (503).
        """
        if self.anyone is not None:
            return self.anyone
        shown = _shown(headers)
        if shown:
            return await self._of(shown)
        ticket = query.get(PARAMETER, "") if query is not None else ""
        if ticket and self.tickets is not None:
            known = self.tickets.caller_of(ticket)
            if known is not None:
                return known
            raise _unknown("The ticket is not valid any more.")
        raise _unknown("Say who you are: Authorization: Bearer <key>.")

    async def _of(self, shown: str) -> Caller:
        key_id = id_of(shown)
        if key_id:
            return await self._of_key(shown, key_id)
        if self.tokens is not None and shown.count(".") == _JWT_DOTS:
            try:
                return await self.tokens.caller_of(shown)
            except jwt.PyJWTError as error:
                raise _unknown("The token is not valid.") from error
        raise _unknown("The key is not known.")

    async def _of_key(self, key: str, key_id: str) -> Caller:
        row = await self.keys.row_of(key_id) if self.keys is not None else None
        # One word for all that can be wrong with it: who guesses learns nothing.
        if row is None or not row.holds(key, self.clock()):
            raise _unknown("The key is not known.")
        return row.caller


def _shown(headers: Headers) -> str:
    """Return the key or token of a request; empty if it has none."""
    authorization = headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    if "x-api-key" in headers:
        return headers["x-api-key"].strip()
    for offered in headers.get("sec-websocket-protocol", "").split(","):
        if offered.strip().startswith(SUBPROTOCOL):
            return offered.strip().removeprefix(SUBPROTOCOL)
    return ""


def _unknown(detail: str) -> ProblemError:
    return ProblemError(Problem(401, "UNAUTHENTICATED", detail))
