"""What is deleted, and when."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from services.traces.store import SpanStore

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long spans stay: while young enough, and among the newest so many."""

    max_age_s: float
    max_spans: int

    def apply(self, store: SpanStore, now_s: float) -> int:
        """Delete what is too old or too much, and return the number of spans deleted."""
        return store.sweep(now_s - self.max_age_s, self.max_spans)


async def keep_sweeping(
    store: SpanStore, retention: Retention, every_s: float, clock: Callable[[], float]
) -> None:
    """Apply the retention again and again, for ever."""
    while True:
        try:
            deleted = await asyncio.to_thread(retention.apply, store, clock())
            if deleted:
                _LOG.info("deleted %d spans", deleted)
        except sqlite3.Error:
            # The next round tries again; what is stored stays readable meanwhile.
            _LOG.exception("old spans could not be deleted")
        await asyncio.sleep(every_s)
