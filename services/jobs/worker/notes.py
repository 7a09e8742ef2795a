"""What an attempt tells while it works: progress now and then, and each item at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from libs.errors import FencedError, JobNotFoundError
from libs.values.jobs import JobItem, JobProgress
from services.jobs.record import Change, Record, delivered, percent_of, went_on
from services.jobs.worker.pen import Pen

# Progress is told this often at most: nobody reads faster, and each is an event that is kept.
_TELL_EVERY_S = 0.1
_MOST_STAGE, _MOST_MESSAGE, _MOST_KEY = 64, 500, 256
_MOST_ITEM_BYTES = 1024 * 1024
_MOST_ITEMS_BYTES = 64 * 1024 * 1024


class TooLargeError(Exception):
    """A job has found more than can be kept; the message says what."""


class OverError(Exception):
    """The attempt is over, and what it still has to say is of no use to anybody."""


class Notes:
    """The `Teller` of one attempt."""

    def __init__(self, pen: Pen, attempt: int, items: dict[str, Mapping[str, Any]]) -> None:
        """Tell through `pen`; `items` are those of earlier attempts."""
        self._pen = pen
        self._attempt = attempt
        self._items = items
        self._latest: JobProgress | None = None
        self._news = asyncio.Event()
        self._is_over = False

    @property
    def items(self) -> Mapping[str, Mapping[str, Any]]:
        """What was delivered so far, by this attempt and by earlier ones."""
        return self._items

    async def progress(self, done: int, total: int, stage: str, message: str = "") -> None:
        """Tell how far it has come, soon; what is less than before is not told."""
        self._latest = JobProgress(
            percent_of(done, total), done, total, stage[:_MOST_STAGE], message[:_MOST_MESSAGE]
        )
        self._news.set()

    async def item(self, key: str, value: Mapping[str, Any]) -> None:
        """Deliver one partial result, which is kept once for each key.

        Raises:
            TooLargeError: it, or all of them, are more than can be kept.
            FencedError: the job is another attempt's by now, or has ended.
            JobNotFoundError: it has expired, or Redis has lost it.
            OverError: the attempt is over.
        """
        self._check()
        if key in self._items:
            return
        if not 1 <= len(key) <= _MOST_KEY:
            raise TooLargeError(f"the key of an item has {len(key)} characters")
        data = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        if len(data) > _MOST_ITEM_BYTES:
            raise TooLargeError(f"item {key} has {len(data)} bytes")
        if self._pen.record.item_bytes + len(data) > _MOST_ITEMS_BYTES:
            raise TooLargeError(f"the items have more than {_MOST_ITEMS_BYTES} bytes")

        def change(record: Record, now_s: float) -> Change:
            return delivered(record, self._attempt, JobItem(key, data), now_s)

        await self._pen.write(change)
        self._items[key] = value
        self._check()

    def _check(self) -> None:
        """End work that was cancelled; a wait for Redis may have swallowed that."""
        if self._is_over:
            raise OverError

    async def tell(self) -> None:
        """Tell the latest progress, if it is not told yet.

        Raises:
            FencedError: the job is another attempt's by now, or has ended.
            JobNotFoundError: it has expired, or Redis has lost it.
        """
        latest, self._latest = self._latest, None
        if latest is not None:

            def change(record: Record, now_s: float) -> Change | None:
                return went_on(record, self._attempt, latest, now_s)

            await self._pen.write(change)

    async def keep_telling(self) -> None:
        """Tell progress as it comes, until `close` or the job is another's."""
        try:
            while not self._is_over:
                await self.tell()
                await asyncio.sleep(_TELL_EVERY_S)
                await self._news.wait()
                self._news.clear()
        except (FencedError, JobNotFoundError):
            return

    def close(self) -> None:
        """Tell nothing more."""
        self._is_over = True
        self._latest = None
        self._news.set()
