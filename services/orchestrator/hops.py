"""The calls a run makes, each with its limit, each noted in the run's ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from libs.clients.cache import CacheClient
from libs.clients.embedding import EmbeddingClient
from libs.clients.generation import GenerationClient
from libs.clients.jobs import JobsClient
from libs.clients.retrieval import RetrievalClient
from libs.errors import (
    BudgetExhaustedError,
    CollectionNotFoundError,
    InvalidFieldError,
    MeshError,
    TenantNotAllowedError,
)
from libs.values import AnswerEvent, CacheLayer
from libs.values.cache import Decision, Lookup
from libs.values.embedding import Embeddings
from libs.values.retrieval import PassageList, SearchQuery, SearchStage
from services.orchestrator.hedging import NO_HEDGE, Hedge, hedged
from services.orchestrator.ledger import HopRecord, Ledger
from services.orchestrator.plan import (
    DENSE,
    EMBEDDING,
    EXACT,
    LEXICAL,
    ONE,
    PROMPT,
    RETRIEVAL,
    SEMANTIC,
)

TIMED_OUT = "TIMED_OUT"
# The passages came as they were fused; there was no time to put them in order.
NOT_RERANKED = "NOT_RERANKED"
# What the caller did wrong; no lesser answer would make it right.
CALLERS_FAULT = (CollectionNotFoundError, InvalidFieldError, TenantNotAllowedError)

_LAYER_HOPS = {
    CacheLayer.EXACT: EXACT,
    CacheLayer.PROMPT: PROMPT,
    CacheLayer.SEMANTIC: SEMANTIC,
}
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Clients:
    """The services a run calls."""

    cache: CacheClient
    embedding: EmbeddingClient
    retrieval: RetrievalClient
    generation: GenerationClient
    jobs: JobsClient | None = None

    def doubled(self) -> frozenset[str]:
        """Return the reading hops that have a second backend to ask."""
        counts = {
            EMBEDDING: self.embedding.backend_count,
            RETRIEVAL: self.retrieval.backend_count,
        }
        return frozenset(hop for hop, count in counts.items() if count > 1)


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a lookup, with all events of a hit."""

    layer: CacheLayer
    decision: Decision
    events: tuple[AnswerEvent, ...]


@dataclass(frozen=True, slots=True)
class Calling(Generic[Result]):
    """A hop under way."""

    record: HopRecord
    task: asyncio.Task[Result]


def outcome_of(error: MeshError) -> str:
    """Return the reason of a failure as accounts and degradations name it."""
    return TIMED_OUT if isinstance(error, BudgetExhaustedError) else error.reason


def _cut_short(error: MeshError, best: PassageList) -> str:
    """Return the outcome of a search that broke off after a list."""
    outcome = outcome_of(error)
    is_fused = best.stage is SearchStage.FUSED
    return NOT_RERANKED if is_fused and outcome == TIMED_OUT else outcome


@contextmanager
def noted(record: HopRecord) -> Iterator[None]:
    """End the record of a hop by what happens inside, if that does not end it itself."""
    try:
        yield
    except MeshError as error:
        record.end(outcome_of(error))
        raise
    finally:
        record.end("cancelled")


class Hops:
    """Starts the calls of one run and cancels those that are not needed any more."""

    def __init__(self, clients: Clients, ledger: Ledger) -> None:
        self._clients = clients
        self._ledger = ledger
        self._tasks: list[asyncio.Task[object]] = []

    def lookup(self, lookup: Lookup, limit_s: float) -> Calling[Found]:
        """Look up a stored answer in one layer."""
        hop = _LAYER_HOPS[lookup.layer]
        record = self._ledger.start(hop, limit_s, ONE if hop == PROMPT else "")
        return self.calling(record, self._lookup(record, lookup))

    def embed(self, question: str, limit_s: float, hedge: Hedge = NO_HEDGE) -> Calling[Embeddings]:
        """Turn the question into a vector."""
        record = self._ledger.start(EMBEDDING, limit_s, ONE)
        return self.calling(record, self._embed(record, question, hedge))

    def search(
        self, query: SearchQuery, limit_s: float, hedge: Hedge = NO_HEDGE
    ) -> Calling[PassageList]:
        """Find passages; the best list that came within the limit."""
        rung = DENSE if query.embedding else LEXICAL
        record = self._ledger.start(RETRIEVAL, limit_s, rung)
        return self.calling(record, self._search(record, query, hedge))

    async def close(self) -> None:
        """Cancel what is still under way, and wait until it is gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def calling(
        self, record: HopRecord, work: Coroutine[object, object, Result]
    ) -> Calling[Result]:
        """Start a call, and cancel it with the others."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return Calling(record, task)

    async def _lookup(self, record: HopRecord, lookup: Lookup) -> Found:
        client = self._clients.cache
        with noted(record):
            found = await client.find(lookup, limit_s=record.granted_s)
            decision = found.decision
            outcome = "hit" if decision.hit else f"miss:{decision.reason}"
            record.end(outcome, decision.timing)
            return Found(lookup.layer, decision, found.events)

    async def _embed(self, record: HopRecord, question: str, hedge: Hedge) -> Embeddings:
        client = self._clients.embedding
        with noted(record):
            embeddings = await hedged(
                (
                    lambda: client.embed([question], limit_s=record.granted_s),
                    lambda: client.spare().embed([question], limit_s=record.left_s()),
                ),
                hedge,
                record,
            )
            record.end("ok", embeddings.timing)
            return embeddings

    async def _search(self, record: HopRecord, query: SearchQuery, hedge: Hedge) -> PassageList:
        client = self._clients.retrieval
        best = _Best(query, record)
        with noted(record):
            try:
                found = await hedged(
                    (
                        lambda: best.of(client, record.granted_s),
                        lambda: best.of(client.spare(), record.left_s()),
                    ),
                    hedge,
                    record,
                )
            except CALLERS_FAULT:
                raise
            except MeshError as error:
                if best.list is None:
                    raise
                record.end(_cut_short(error, best.list), best.list.timing)
                return best.list
            record.end(NOT_RERANKED if best.is_as_fused else "ok", found.timing)
            return found


class _Best:
    """The best list of passages so far, from whichever backend it came.

    Attributes:
        list: None until one has come.
        is_as_fused: True if the last list of a backend was its fused one once more: whoever
            was to put it in order did not answer.
    """

    def __init__(self, query: SearchQuery, record: HopRecord) -> None:
        self.list: PassageList | None = None
        self.is_as_fused = False
        self._query = query
        self._record = record

    async def of(self, client: RetrievalClient, limit_s: float) -> PassageList:
        """Search, and return the last list.

        Raises:
            BudgetExhaustedError: there was none.
            MeshError: the search broke off; `list` may have one all the same.
        """
        last: PassageList | None = None
        async with client.search(self._query, limit_s=limit_s) as lists:
            async for each in lists:
                self._take(each, is_first=last is None)
                again = last is not None and last.stage is each.stage
                self.is_as_fused = again and each.stage is SearchStage.FUSED
                last = each
        if last is None:
            raise BudgetExhaustedError("retrieval sent no list", hop=RETRIEVAL)
        return last

    def _take(self, found: PassageList, *, is_first: bool) -> None:
        if is_first and found.stage is SearchStage.LEXICAL and self._query.embedding:
            self._record.reached(LEXICAL)
        if self.list is None or found.stage >= self.list.stage:
            self.list = found
