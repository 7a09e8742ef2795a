"""The call being served: who asks, since when, with how much time."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from libs.budget import Budget
from libs.server.identity import Identity
from libs.values import Timing


@dataclass(frozen=True, slots=True)
class Call:
    """What the guard knows of one call.

    Attributes:
        method: `package.Service/Method`.
        identity: who calls.
        budget: the time the caller granted; None if it set no deadline.
        queue_s: seconds between the caller's send and the handler's start, network
            included; 0 if the caller did not say what timeout it set.
        started_s: when the handler started, on the monotonic clock.
    """

    method: str
    identity: Identity
    budget: Budget | None
    queue_s: float
    started_s: float = field(default_factory=time.monotonic)

    def timing(self, queue_s: float = 0.0, model_s: float = 0.0, batch_size: int = 0) -> Timing:
        """Return how this call spent its time so far.

        Args:
            queue_s: seconds it waited behind other work after its handler started.
            model_s: seconds it waited for a model provider.
            batch_size: calls that shared the work.
        """
        elapsed = time.monotonic() - self.started_s
        compute = max(0.0, elapsed - queue_s - model_s)
        return Timing(self.queue_s + queue_s, compute, model_s, batch_size)


_current: ContextVar[Call] = ContextVar("hasten_call")


def current_call() -> Call:
    """Return the call that this task serves.

    Raises:
        LookupError: the task serves none.
    """
    return _current.get()


def enter(call: Call) -> None:
    """Make `call` the one this task serves, until the task ends."""
    _current.set(call)
