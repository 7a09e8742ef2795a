"""Lets a stretch of a test block the event loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blockbuster import BlockBuster


@contextmanager
def blocking(guard: BlockBuster | None) -> Iterator[None]:
    """Let calls inside block the event loop; without a guard they may anyway."""
    if guard is None:
        yield
        return
    guard.deactivate()
    try:
        yield
    finally:
        guard.activate()
