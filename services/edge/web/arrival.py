"""A body as it comes: not for longer than it may take, and no slower than it may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from services.edge.problem import Problem, ProblemError
from services.edge.web.presence import CallerLeftError

_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a body is waited for.

    Attributes:
        timeout_s: seconds in which all of it must have come.
        least_bytes_per_s: how much must come on average; 0 asks for nothing.
        grace_s: seconds of standstill that cost nothing.
    """

    timeout_s: float
    least_bytes_per_s: int = 0
    grace_s: float = _GRACE_S

    def left_s(self, received_bytes: int) -> float:
        """Return in how many seconds from the body's begin there must be more than that."""
        if not self.least_bytes_per_s:
            return self.timeout_s
        return min(self.timeout_s, self.grace_s + received_bytes / self.least_bytes_per_s)

    def refusal(self, received_bytes: int) -> Problem:
        """Return what is said of a body of which no more came in time."""
        if self.left_s(received_bytes) < self.timeout_s:
            detail = f"The body must come at {self.least_bytes_per_s} bytes a second or more."
            return Problem(408, "BODY_TOO_SLOW", detail)
        return Problem(408, "BODY_TIMED_OUT", f"The body must come within {self.timeout_s:g} s.")


async def arriving(request: Request, patience: Patience) -> AsyncIterator[bytes]:
    """Yield the pieces of a request's body.

    Raises:
        ProblemError: it does not come in time.
        CallerLeftError: the caller hung up instead.
    """
    begun_s, received_bytes = asyncio.get_running_loop().time(), 0
    pieces = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout_at(begun_s + patience.left_s(received_bytes)):
                piece = await anext(pieces, None)
        except TimeoutError as error:
            raise ProblemError(patience.refusal(received_bytes)) from error
        except ClientDisconnect as error:
            raise CallerLeftError from error
        if piece is None:
            return
        received_bytes += len(piece)
        yield piece
