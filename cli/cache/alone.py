"""A replay against the cache and the encoder alone: no answer is made, one stands in for it.

Every question is looked up as the orchestrator looks it up: by its very words, then by its
meaning. What misses is stored, at once, with a text of a few words. It is stored with
settings that no real question has, so nobody is ever served it, and removed at the end.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from cli.cache.rows import Row
from cli.cache.tally import Made, Tally, WrongHit
from libs.clients.cache import CacheClient, Outcome
from libs.clients.embedding import EmbeddingClient
from libs.values import AnswerEvent, CacheLayer, FinishReason, Quality, TextDelta
from libs.values.cache import Answer, AskedQuestion, Lookup, WithTag

_LIMIT_S = 10.0
_CLEANING_LIMIT_S = 120.0
# Vectors that are made in one call, ahead of the questions: the encoder's batches are full.
_BLOCK = 512
_STAND_IN = (AnswerEvent(1, TextDelta("An answer stands here.")),)


@dataclass(frozen=True, slots=True)
class StandIn:
    """What an answer is taken to cost that is not made.

    Attributes:
        seconds: until it would have been whole.
        input_tokens: that a model would have read.
        output_tokens: that it would have written.
    """

    seconds: float = 2.0
    input_tokens: int = 1_500
    output_tokens: int = 250

    def made(self, group: str | None) -> Made:
        """Return the answer to a question of a group."""
        return Made(group, self.seconds, self.input_tokens, self.output_tokens)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question with its vector, as the cache is asked."""

    row: Row
    asked: AskedQuestion
    vector: bytes
    fingerprint: str


class AloneReplay:
    """Asks the cache for the questions of a file, in their order, one after another."""

    def __init__(
        self,
        cache: CacheClient,
        encoder: EmbeddingClient,
        tenant_id: str,
        stand_in: StandIn,
        collection: str = "default",
        min_similarity: float | None = None,
    ) -> None:
        """Prepare a replay.

        Args:
            cache: where questions are looked up, and answers stored.
            encoder: makes the vectors.
            tenant_id: on whose behalf.
            stand_in: what an answer is taken to cost.
            collection: that is asked where a row names none.
            min_similarity: raises the cache's floor, in [0, 1].
        """
        self._cache = cache
        self._encoder = encoder
        self._tenant_id = tenant_id
        self._stand_in = stand_in
        self._collection = collection
        self._min_similarity = min_similarity
        self._name = f"replay-{secrets.token_hex(6)}"
        self._tally = Tally()

    async def run(self, rows: Sequence[Row], advance: Callable[[], None]) -> Tally:
        """Replay questions; what was stored meanwhile is removed again, whatever happens.

        Raises:
            MeshError: a service failed.
        """
        try:
            async for asked in self._with_vectors(rows):
                await self._ask(asked)
                advance()
        finally:
            await self._cache.invalidate(
                self._tenant_id, WithTag(self._name), limit_s=_CLEANING_LIMIT_S
            )
        return self._tally

    async def _with_vectors(self, rows: Sequence[Row]) -> AsyncIterator[_Asked]:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            texts = list(dict.fromkeys(row.question for row in block))
            vectors: list[bytes] = []
            fingerprint = ""
            async with self._encoder.stream(texts, limit_s=_CLEANING_LIMIT_S) as pages:
                async for page in pages:
                    vectors += [page[number] for number in range(len(page))]
                    fingerprint = page.fingerprint
            by_text = dict(zip(texts, vectors, strict=True))
            for row in block:
                yield _Asked(row, self._asked(row), by_text[row.question], fingerprint)

    def _asked(self, row: Row) -> AskedQuestion:
        collection = row.fields.get("collection", self._collection)
        return AskedQuestion(row.question, collection=collection, settings_fingerprint=self._name)

    async def _ask(self, asked: _Asked) -> None:
        began_s = time.perf_counter()
        reason = ""
        for layer in (CacheLayer.EXACT, CacheLayer.SEMANTIC):
            found = await self._cache.find(self._lookup(layer, asked), limit_s=_LIMIT_S)
            if found.decision.hit:
                self._hit(asked.row, layer, found, time.perf_counter() - began_s)
                return
            reason = found.decision.reason
        await self._make(asked, reason)

    def _lookup(self, layer: CacheLayer, asked: _Asked) -> Lookup:
        if layer is CacheLayer.EXACT:
            return Lookup(self._tenant_id, layer, asked.asked)
        return Lookup(
            self._tenant_id,
            layer,
            asked.asked,
            embedding=asked.vector,
            embedding_fingerprint=asked.fingerprint,
            min_similarity=self._min_similarity,
        )

    def _hit(self, row: Row, layer: CacheLayer, found: Outcome, seconds: float) -> None:
        decision = found.decision
        self._tally.hit(
            decision.entry_id,
            row.fields.get("group"),
            WrongHit.of(row.line, row.question, layer, decision.similarity),
            seconds,
        )

    async def _make(self, asked: _Asked, reason: str) -> None:
        row, name = asked.row, f"{self._name}-{asked.row.line}"
        stored = await self._cache.store(
            Answer(
                self._tenant_id,
                asked.asked,
                name,
                _STAND_IN,
                FinishReason.END_TURN,
                Quality.FULL,
                model="stand-in",
                embedding=asked.vector,
                embedding_fingerprint=asked.fingerprint,
                tags=(self._name,),
            ),
            limit_s=_LIMIT_S,
        )
        self._tally.miss(name, self._stand_in.made(row.fields.get("group")), row.question, reason)
        if not stored.stored:
            self._tally.unstored[stored.reason] += 1
