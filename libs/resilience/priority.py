"""Whether the work of this task is waited for by a person, or can wait itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# As a call carries it; nothing is sent for what is not background.
BACKGROUND = "background"

_background: ContextVar[bool] = ContextVar("hasten_background", default=False)


def is_background() -> bool:
    """Return whether this task, and every call it makes, goes behind interactive work."""
    return _background.get()


@contextmanager
def background() -> Iterator[None]:
    """Let everything inside go behind interactive work, in this process and below it."""
    token = _background.set(True)
    try:
        yield
    finally:
        _background.reset(token)


def be_background() -> None:
    """Let the rest of this task be background; for a task that serves one call."""
    _background.set(True)
