"""Small collections, whole: copies kept beside the path of requests, for prompts that hold them.

The documents of a collection are the same for every question, so a provider caches them; passages
are others each time. A copy is made when a collection is first asked, follows `WatchChanges`, and
is used only where it is known to be what the search has just read.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from libs.clients.generation import GenerationClient
from libs.clients.retrieval import RetrievalClient
from libs.errors import CollectionNotFoundError, MeshError
from libs.values import ModelTier, Passage, Question
from libs.values.retrieval import ChangeBatch, DocumentPage, DocumentState, StoredDocument
from services.orchestrator.ground import Ground
from services.orchestrator.policy import Policy
from services.orchestrator.prompt import start_of

_LOG = logging.getLogger(__name__)
_CHARS_PER_TOKEN = 4
_MOST_SHELVES = 256
# A collection of more documents is not small, whatever they hold.
_MOST_DOCUMENTS = 1000
_AT_ONCE = 8
_LIMIT_S = 5.0
_WARM_LIMIT_S = 30.0
_RETRY_S = 0.5
# Changes seldom come alone: those of a moment are read together.
_SETTLE_S = 0.05
_LONGEST_SETTLE_S = 2.0
# How often it is seen whether a provider is about to forget.
_LOOK_EVERY_S = 1.0

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class WarmSettings:
    """When a provider is given the start of prompts before anybody asks.

    Attributes:
        after_s: after so many seconds without a question, before it forgets; 0 is never, and
            then not when documents change either.
        for_s: how long after the last question more are expected.
    """

    after_s: float = 240.0
    for_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Copy:
    """A collection's documents as they were at a version of the store.

    Attributes:
        documents: by the version of their last change, so that a new one comes last and what
            is cached of those before it stays.
        scopes: the scope of each.
        version: the store's version.
        chars: how long they are together; more than is allowed has no documents.
        versions: of the documents by id.
    """

    documents: tuple[Passage, ...]
    scopes: tuple[str, ...]
    version: int
    chars: int
    versions: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Note the version of each document."""
        versions = {each.document_id: each.document_version for each in self.documents}
        object.__setattr__(self, "versions", versions)

    def holds(self, passages: Sequence[Passage]) -> bool:
        """Tell whether passages are of these documents as they are here."""
        read = {each.document_id: each.document_version for each in passages}
        return read.items() <= self.versions.items()

    def seen_by(self, scope: str) -> tuple[Passage, ...]:
        """Return what may be seen in a scope."""
        if not any(self.scopes):
            return self.documents
        pairs = zip(self.documents, self.scopes, strict=True)
        return tuple(document for document, of in pairs if of in ("", scope))


@dataclass(slots=True)
class _Start:
    """A kind of prompt that begins with a collection; times are in seconds of the clock.

    Attributes:
        policy: has the system text.
        asked_s: when one was last asked.
        read_s: when a provider last read one.
    """

    policy: Policy
    asked_s: float
    read_s: float = float("-inf")


@dataclass(slots=True)
class _Shelf:
    """What is known of one collection.

    Attributes:
        limit_chars: how large it may be.
        last: its documents as they were last read.
        changed: version of the last change that was told.
        loading: reads them.
        starts: prompts that begin with it, by policy and scope.
    """

    limit_chars: int
    last: Copy | None = None
    changed: int = 0
    loading: asyncio.Task[None] | None = None
    starts: dict[tuple[str, str], _Start] = field(default_factory=dict)

    @property
    def copy(self) -> Copy | None:
        """The documents, if nothing was told that they do not show."""
        return self.last if self.last and self.last.version >= self.changed else None


class Libraries:
    """The copies, and who keeps a provider warm with them."""

    def __init__(
        self,
        retrieval: RetrievalClient,
        generation: GenerationClient,
        warm: WarmSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retrieval = retrieval
        self._generation = generation
        self._warm = warm or WarmSettings()
        self._clock = clock
        self._shelves: dict[Key, _Shelf] = {}
        self._wanted = asyncio.Event()
        self._store_id = ""
        self._told = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def documents(self, question: Question, policy: Policy, ground: Ground) -> tuple[Passage, ...]:
        """Return all documents of a question's collection, or none if they are not at hand.

        Never waits: what is not there yet is fetched for the questions to come.
        """
        if question.filters or not ground.passages:
            return ()
        shelf = self._asked((question.tenant_id, question.collection), policy, question.scope)
        copy = shelf.copy
        if copy is None or not self._is_current(copy, ground):
            return ()
        if copy.chars > policy.collection_tokens * _CHARS_PER_TOKEN:
            return ()
        return copy.seen_by(question.scope) if copy.holds(ground.passages) else ()

    def want(self, tenant_id: str, collection: str, policy: Policy) -> None:
        """Have a collection at hand, and a provider warm, before anybody asks."""
        self._asked((tenant_id, collection), policy, "")

    async def keep_current(self) -> None:
        """Follow changes and keep providers warm; runs until cancelled."""
        self._spawn(self._keep_warm())
        try:
            while True:
                await self._wanted.wait()
                await self._follow()
                self._forget()
                await asyncio.sleep(_RETRY_S)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _follow(self) -> None:
        try:
            await self._listen()
        except MeshError as error:
            _LOG.info("collections for prompts are not known: %s", error)
        except Exception:  # noqa: BLE001 - the outer edge of a task
            # Without this task no collection would be in a prompt any more.
            _LOG.exception("the watch of collections for prompts failed")

    # -- copies ------------------------------------------------------------------------

    def _asked(self, key: Key, policy: Policy, scope: str) -> _Shelf:
        limit_chars = policy.collection_tokens * _CHARS_PER_TOKEN
        shelf = self._shelf(key, limit_chars)
        now_s = self._clock()
        start = shelf.starts.setdefault((policy.name, scope), _Start(policy, now_s))
        start.asked_s = now_s
        if shelf.copy is None:
            self._load(key, shelf)
        else:
            # What is asked is read by the provider.
            start.read_s = now_s
        self._wanted.set()
        return shelf

    def _shelf(self, key: Key, limit_chars: int) -> _Shelf:
        shelf = self._shelves.pop(key, None) or _Shelf(limit_chars)
        self._shelves[key] = shelf
        if limit_chars > shelf.limit_chars:
            shelf.limit_chars, shelf.last = limit_chars, None
        if len(self._shelves) > _MOST_SHELVES:
            self._shelves.pop(next(iter(self._shelves)))
        return shelf

    def _is_current(self, copy: Copy, ground: Ground) -> bool:
        """Tell whether no change is unheard of up to the version that was searched."""
        is_heard = ground.index_version <= max(copy.version, self._told)
        return is_heard and ground.store_id == self._store_id

    def _load(self, key: Key, shelf: _Shelf) -> None:
        """Read a collection unless that is under way, or changes are not followed yet."""
        if self._store_id and (shelf.loading is None or shelf.loading.done()):
            shelf.loading = self._spawn(self._fill(key, shelf))

    async def _fill(self, key: Key, shelf: _Shelf) -> None:
        before, settle_s = shelf.last, _SETTLE_S
        try:
            while shelf.copy is None:
                await asyncio.sleep(settle_s)
                settle_s = min(2 * settle_s, _LONGEST_SETTLE_S)
                shelf.last = await self._read(key, shelf) or shelf.last
        except MeshError as error:
            _LOG.info("collection %s of %s cannot be read: %s", key[1], key[0], error)
            return
        if before is None or before.documents != shelf.last.documents:  # type: ignore[union-attr]
            self._spawn(self._warm_all(key, shelf))

    async def _read(self, key: Key, shelf: _Shelf) -> Copy | None:
        """Return the documents as they are; None if they changed meanwhile."""
        page = await self._page(key)
        if page.next_page_token:
            return Copy((), (), page.index_version, shelf.limit_chars + 1)
        read: list[tuple[Passage, str]] = []
        chars, kept = 0, _pairs(shelf.last)
        for batch in _batched(sorted(page.documents, key=_by_version)):
            read += await asyncio.gather(*(self._document(key, one, kept) for one in batch))
            chars = sum(len(document.text) for document, _ in read)
            if chars > shelf.limit_chars:
                read.clear()
                break
        again = await self._page(key)
        if _versions(again.documents) != _versions(page.documents):
            return None
        documents = tuple(document for document, _ in read)
        return Copy(documents, tuple(scope for _, scope in read), again.index_version, chars)

    async def _page(self, key: Key) -> DocumentPage:
        return await self._retrieval.list(*key, page_size=_MOST_DOCUMENTS, limit_s=_LIMIT_S)

    async def _document(
        self, key: Key, state: DocumentState, kept: dict[str, tuple[Passage, str]]
    ) -> tuple[Passage, str]:
        """Return a document and its scope, as kept if it is the same."""
        pair = kept.get(state.document_id)
        if pair is not None and pair[0].document_version == state.version:
            return pair
        stored = await self._retrieval.get(*key, state.document_id, limit_s=_LIMIT_S)
        return _whole(stored), stored.document.scope

    # -- changes -----------------------------------------------------------------------

    async def _listen(self) -> None:
        """Hear one stream of changes out; what was before it is not told again."""
        version = await self._version()
        if version is None:
            self._wanted.clear()
            return
        # A version of 0 would have everything told.
        async with self._retrieval.watch("*", max(1, version)) as batches:
            async for batch in batches:
                if self._store_id and batch.store_id != self._store_id:
                    return
                self._hear(batch)

    async def _version(self) -> int | None:
        """Return the store's version; None if none of the collections is there."""
        for key in list(self._shelves):
            try:
                page = await self._retrieval.list(*key, page_size=1, limit_s=_LIMIT_S)
            except CollectionNotFoundError:
                del self._shelves[key]
            else:
                return page.index_version
        return None

    def _hear(self, batch: ChangeBatch) -> None:
        is_first, self._store_id = not self._store_id, batch.store_id
        for change in batch.changes:
            shelf = self._shelves.get((change.tenant_id, change.collection))
            if shelf is not None:
                self._outdate((change.tenant_id, change.collection), shelf, change.version)
        if batch.is_complete:
            self._told = max(self._told, batch.index_version)
        if is_first:
            for key, shelf in self._shelves.items():
                self._load(key, shelf)

    def _outdate(self, key: Key, shelf: _Shelf, version: int) -> None:
        shelf.changed = max(shelf.changed, version)
        # One that was too large is looked at again when it is asked.
        if shelf.copy is None and (shelf.last is None or shelf.last.documents):
            self._load(key, shelf)

    def _forget(self) -> None:
        """Trust no copy any more: changes may be missed."""
        self._store_id, self._told = "", 0
        for shelf in self._shelves.values():
            if shelf.loading is not None:
                shelf.loading.cancel()
            shelf.last, shelf.changed = None, 0

    # -- warmth ------------------------------------------------------------------------

    async def _keep_warm(self) -> None:
        """Look after what is asked for, and let go of what is not any more."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for key, shelf in list(self._shelves.items()):
                await self._look_after(key, shelf)

    async def _look_after(self, key: Key, shelf: _Shelf) -> None:
        now_s = self._clock()
        for name, start in list(shelf.starts.items()):
            if now_s - start.asked_s > self._warm.for_s:
                del shelf.starts[name]
            elif 0 < self._warm.after_s < now_s - start.read_s:
                await self._warm_one(key, shelf, name)
        if not shelf.starts:
            self._shelves.pop(key, None)

    async def _warm_all(self, key: Key, shelf: _Shelf) -> None:
        if self._warm.after_s > 0:
            for name in list(shelf.starts):
                await self._warm_one(key, shelf, name)

    async def _warm_one(self, key: Key, shelf: _Shelf, name: tuple[str, str]) -> None:
        """Have one start read by the provider of the best model, if there is a copy to read."""
        copy, start = shelf.copy, shelf.starts.get(name)
        if copy is None or start is None or not copy.documents:
            return
        start.read_s = self._clock()
        documents = copy.seen_by(name[1])
        prompt = start_of(start.policy, ModelTier.UNSPECIFIED, key[0], documents)
        try:
            await self._generation.warm(prompt, limit_s=_WARM_LIMIT_S)
        except MeshError as error:
            _LOG.info("collection %s of %s: the provider is not warm: %s", key[1], key[0], error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _batched(states: Sequence[DocumentState]) -> Iterable[tuple[DocumentState, ...]]:
    rest = iter(states)
    while batch := tuple(itertools.islice(rest, _AT_ONCE)):
        yield batch


def _pairs(copy: Copy | None) -> dict[str, tuple[Passage, str]]:
    """Return the documents of a copy with their scopes, by id."""
    if copy is None:
        return {}
    pairs = zip(copy.documents, copy.scopes, strict=True)
    return {document.document_id: (document, scope) for document, scope in pairs}


def _by_version(state: DocumentState) -> tuple[int, str]:
    return state.version, state.document_id


def _versions(states: Iterable[DocumentState]) -> dict[str, int]:
    return {each.document_id: each.version for each in states}


def _whole(stored: StoredDocument) -> Passage:
    document = stored.document
    return Passage(
        document.document_id,
        document.document_id,
        stored.state.version,
        document.title or stored.state.title,
        "",
        document.text,
        0,
        len(document.text),
        document.uri,
    )
