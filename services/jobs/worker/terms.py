"""How long an attempt may take, and when there is another one: pure arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import grpc

from libs.errors import MeshError

# Another try may meet another world; all else would fail alike.
_WORTH_ANOTHER = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
    }
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a worker grants to a job.

    Attributes:
        attempt_count: failures after which a job is a dead letter.
        retry_first_s: most seconds before a second attempt.
        retry_most_s: most seconds before any attempt.
        limit_s: seconds that an attempt may take.
        limits_s: the same for some kinds.
    """

    attempt_count: int = 5
    retry_first_s: float = 1.0
    retry_most_s: float = 60.0
    limit_s: float = 1800.0
    limits_s: Mapping[str, float] = field(default_factory=dict)

    def limit_of(self, kind: str) -> float:
        """Return the seconds that an attempt at a job of a kind may take."""
        return self.limits_s.get(kind, self.limit_s)

    def wait_s(self, error: MeshError, failures: int, draw: Callable[[], float]) -> float | None:
        """Return the seconds until the next attempt; None if there is none.

        Exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter", AWS
        Architecture Blog, 2015), behind what the server that failed has asked for.

        Args:
            error: why the attempt failed.
            failures: attempts that have failed, this one too.
            draw: gives a random number in [0, 1).
        """
        if not is_passing(error) or failures >= self.attempt_count:
            return None
        most_s = min(self.retry_most_s, self.retry_first_s * 2.0 ** (failures - 1))
        return (error.retry_after_s or 0.0) + most_s * draw()


def is_passing(error: MeshError) -> bool:
    """Return whether what went wrong may be right at another time."""
    return error.code in _WORTH_ANOTHER
