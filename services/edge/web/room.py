"""How much there may be at once of one kind of request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from libs.errors import OverloadedError

_RETRY_AFTER_S = 1.0


class Room:
    """Room for requests.

    Args:
        count: as many as there may be at once.
        name: what they are, for the refusal.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take room for one while inside.

        Raises:
            OverloadedError: there is none.
        """
        if self._taken >= self._count:
            raise OverloadedError(f"too many {self._name}", retry_after_s=_RETRY_AFTER_S)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
