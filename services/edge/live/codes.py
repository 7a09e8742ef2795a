"""With which codes a WebSocket is closed, and what they say (RFC 6455, section 7.4)."""

from __future__ import annotations

from enum import IntEnum

from services.edge.problem import Problem


class CloseCode(IntEnum):
    """Why a socket was closed; from 4000 on they are ours, after the HTTP status of the like."""

    NORMAL = 1000
    MESSAGE_TOO_BIG = 1009
    FAILED = 1011
    RESTART = 1012
    """This process ends, or the socket is as old as one gets: connect anew and resume."""
    BAD_MESSAGE = 4400
    UNKNOWN_CALLER = 4401
    NOT_ALLOWED = 4403
    TIMED_OUT = 4408
    """Nothing was asked for too long, or what was sent was not taken."""
    TOO_MANY = 4429


_BY_STATUS = {
    400: CloseCode.BAD_MESSAGE,
    401: CloseCode.UNKNOWN_CALLER,
    403: CloseCode.NOT_ALLOWED,
    429: CloseCode.TOO_MANY,
}


def code_of(problem: Problem) -> CloseCode:
    """Return with what a socket is closed that a problem forbids."""
    return _BY_STATUS.get(problem.status, CloseCode.FAILED)
