"""Whether the documents behind an answer are still as they were."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from libs.values import SourceVersion
from libs.values.retrieval import ChangeBatch
from services.cache.reasons import Reason


class Freshness:
    """The last version of every document, as retrieval tells it.

    What is not known for sure counts against an answer: a silent watch, a version that
    has not been heard of yet, a document that was never told.
    """

    def __init__(self, *, silence_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet.

        Args:
            silence_s: how long after the last word what it said still holds.
            clock: seconds that only go forward.
        """
        self.silence_s = silence_s
        self.clock = clock
        self.index_version = 0
        self._store_id = ""
        self._versions: dict[tuple[str, str, str], int] = {}
        self._collections: dict[tuple[str, str], int] = {}
        self._heard_at_s: float | None = None
        self._news = asyncio.Event()

    def continues(self, batch: ChangeBatch) -> bool:
        """Return whether a batch goes on from what is known here.

        It does not if it is of another store, or of the same one before a later state was
        lost, such as a copy that was put back.
        """
        return batch.store_id == self._store_id and batch.index_version >= self.index_version

    def start_over(self, store_id: str) -> None:
        """Forget everything: what comes counts its versions anew."""
        self._store_id = store_id
        self.index_version = 0
        self._versions.clear()
        self._collections.clear()
        self._heard_at_s = None

    def hear(self, batch: ChangeBatch) -> None:
        """Take in what the watch told; it counts as a word once nothing is left to tell."""
        for change in batch.changes:
            name = (change.tenant_id, change.collection, change.document_id)
            self._versions[name] = change.version
            self._note_in(name[:2], change.version)
        self.index_version = batch.index_version
        if not batch.is_complete:
            # After a gap, what is still to be told may be what has changed.
            return
        self._heard_at_s = self.clock()
        self._news.set()
        self._news = asyncio.Event()

    @property
    def is_silent(self) -> bool:
        """True if nothing was heard for too long to rely on what is known."""
        heard_at_s = self._heard_at_s
        return heard_at_s is None or self.clock() - heard_at_s > self.silence_s

    def judge(
        self, tenant_id: str, sources: Sequence[SourceVersion], store_id: str
    ) -> Reason | None:
        """Return why an answer built from `sources` may not be used; None if it may."""
        if not sources:
            return None
        if self.is_silent:
            return Reason.WATCH_SILENT
        if store_id != self._store_id:
            return Reason.DOCUMENT_CHANGED
        if any(source.version > self.index_version for source in sources):
            # We lag: what has been told up to here says nothing of that version.
            return Reason.WATCH_SILENT
        if all(self._is_last(tenant_id, source) for source in sources):
            return None
        return Reason.DOCUMENT_CHANGED

    def judge_collection(
        self, tenant_id: str, collection: str, index_version: int, store_id: str
    ) -> Reason | None:
        """Return why what was said of a whole collection may not be used; None if it may.

        Any change in it since `index_version` counts: a new document may hold the answer.
        """
        if self.is_silent:
            return Reason.WATCH_SILENT
        if store_id != self._store_id:
            return Reason.DOCUMENT_CHANGED
        if index_version > self.index_version:
            return Reason.WATCH_SILENT
        changed_at = self._collections.get((tenant_id, collection), 0)
        return Reason.DOCUMENT_CHANGED if changed_at > index_version else None

    def silent_s(self) -> float:
        """Return the seconds since the last word; infinite if there was none."""
        return float("inf") if self._heard_at_s is None else self.clock() - self._heard_at_s

    def _note_in(self, collection: tuple[str, str], version: int) -> None:
        self._collections[collection] = max(version, self._collections.get(collection, 0))

    async def catch_up(self, sources: Iterable[SourceVersion], limit_s: float) -> None:
        """Wait until the watch speaks and has told of the versions of `sources`.

        An answer is often stored milliseconds after its documents were; without the wait
        it would be refused although nothing is wrong. Gives up after `limit_s`.
        """
        wanted = max((source.version for source in sources), default=None)
        if wanted is not None:
            await self.ready(limit_s, wanted)

    async def ready(self, limit_s: float, version: int = 0) -> None:
        """Wait until the watch speaks and has told of `version`; at most `limit_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self.is_silent or self.index_version < version:
                    await self._news.wait()

    def _is_last(self, tenant_id: str, source: SourceVersion) -> bool:
        name = (tenant_id, source.collection, source.document_id)
        return self._versions.get(name) == source.version
