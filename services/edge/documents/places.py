"""How many uploads are read at once: each is held in memory, and nobody may have all the places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from services.edge.problem import Problem, ProblemError

_RETRY_AFTER_S = 1.0


class Places:
    """Places for uploads that are read.

    Args:
        count: all of them.
        tenant_count: those that one tenant may have.
    """

    def __init__(self, count: int, tenant_count: int) -> None:
        self._count = count
        self._tenant_count = tenant_count
        self._taken: Counter[str] = Counter()

    @contextmanager
    def one(self, tenant_id: str) -> Iterator[None]:
        """Hold a place while inside.

        Raises:
            ProblemError: none is free (429); the problem says which limit it is.
        """
        if self._taken[tenant_id] >= self._tenant_count:
            raise _full(f"at most {self._tenant_count} of one tenant are read at once")
        if self._taken.total() >= self._count:
            raise _full(f"at most {self._count} are read at once")
        self._taken[tenant_id] += 1
        try:
            yield
        finally:
            self._taken[tenant_id] -= 1
            self._taken += Counter()  # forgets who has none


def _full(why: str) -> ProblemError:
    detail = f"files: {why}; try again later."
    return ProblemError(Problem(429, "TOO_MANY_UPLOADS", detail, "files", _RETRY_AFTER_S))
