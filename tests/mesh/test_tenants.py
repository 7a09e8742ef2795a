"""What is one tenant's never meets another, however alike their names and their questions are."""

from __future__ import annotations

import asyncio
import hashlib
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from libs.clients.answer import AnswerClient
from libs.clients.embedding import EmbeddingClient
from libs.errors import DocumentNotFoundError, RunNotFoundError
from libs.values import (
    AnswerEvent,
    CacheLayer,
    Event,
    FinishReason,
    ModelTier,
    Quality,
    Question,
    TextDelta,
    Verdict,
)
from libs.values.cache import Answer, AskedQuestion, Lookup, WithTag
from libs.values.retrieval import Document, SearchQuery
from tests.support.mesh import Mesh

COLLECTION = "default"
# All tenants ask in the same direction, so that nothing but the tenant tells them apart.
VECTOR = struct.pack("<384f", 1.0, *[0.0] * 383)
IN_PARALLEL = 16
_BASES = ("acme", "a", "A", "a.b", "a_b", "a-b", "0", "rival", "x" * 60, "default", "run", "hasten")
_ENDS = ("", ".", "-", "_", "0", "1", ".a", "-events", "..", "a")


def names(count: int) -> list[str]:
    """Return names of tenants that are as alike as they may be."""
    made = dict.fromkeys(f"{base}{end}"[:64] for end in _ENDS for base in _BASES)
    return list(made)[:count]


def pairs(tenants: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
    """Return different pairs of an owner and a stranger."""
    every = [(owner, stranger) for owner in tenants for stranger in tenants if owner != stranger]
    assert len(every) >= count
    random.Random(seed).shuffle(every)  # noqa: S311 - reproducible, not secret
    return every[:count]


@dataclass
class Estate:
    """What one tenant has, and how it is asked for.

    Attributes:
        tenant_id: whose it is.
        fingerprint: of the mesh's own model; a vector of another would be made anew before long.
        run_id: a run of the tenant, that has ended.
    """

    tenant_id: str
    fingerprint: str
    run_id: str = ""
    secret: str = field(init=False)

    def __post_init__(self) -> None:
        self.secret = "secret" + hashlib.sha256(self.tenant_id.encode()).hexdigest()[:16]

    @property
    def document(self) -> Document:
        text = f"The word of this house is {self.secret}. Nobody else may read it."
        return Document(f"doc-{self.secret}", text)

    @property
    def asked(self) -> AskedQuestion:
        return AskedQuestion(f"What is the word {self.secret}?", model_tier=ModelTier.BEST)

    @property
    def answer(self) -> Answer:
        return Answer(
            self.tenant_id,
            self.asked,
            entry_id=f"entry-{self.secret}",
            events=(AnswerEvent(1, TextDelta(self.secret)),),
            finish_reason=FinishReason.END_TURN,
            quality=Quality.FULL,
            prompt_sha256=self.prompt,
            embedding=VECTOR,
            embedding_fingerprint=self.fingerprint,
            tags=(self.secret,),
        )

    @property
    def prompt(self) -> bytes:
        return hashlib.sha256(self.secret.encode()).digest()

    def lookup(self, tenant_id: str, layer: CacheLayer) -> Lookup:
        """Return the lookup that finds this answer, made by any tenant."""
        return Lookup(tenant_id, layer, self.asked, self.prompt, VECTOR, self.fingerprint)


LAYERS = (CacheLayer.EXACT, CacheLayer.PROMPT, CacheLayer.SEMANTIC)


async def settle(mesh: Mesh, tenant_id: str) -> Estate:
    """Give a tenant a document, a stored answer and a run."""
    model = await EmbeddingClient(mesh.connections["embedding"]).model()
    estate = Estate(tenant_id, model.fingerprint)
    await mesh.retrieval.create_collection(tenant_id, COLLECTION)
    await mesh.retrieval.upsert(tenant_id, COLLECTION, [estate.document])
    assert (await mesh.cache.store(estate.answer)).stored
    told = await mesh.ask(Question(tenant_id, f"What is the word {estate.secret}?"))
    assert estate.secret in told.text
    estate.run_id = told.run_id
    return estate


async def texts(mesh: Mesh, lookup: Lookup) -> str:
    """Return the text of the answer that a lookup finds; empty if it finds none."""
    async with mesh.cache.lookup(lookup) as found:
        streamed = tuple([each async for batch in found.events for each in batch])
    assert (await mesh.cache.find(lookup)).events == streamed
    events = [each.event for each in streamed]
    return "".join(each.text for each in events if isinstance(each, TextDelta))


async def check_cache(mesh: Mesh, owner: Estate, stranger: Estate) -> None:
    for layer in LAYERS:
        text = await texts(mesh, owner.lookup(stranger.tenant_id, layer))
        # Near in meaning is what the stranger has itself, and that it may see.
        assert text in ("", stranger.secret)
    told = await mesh.cache.report(stranger.tenant_id, owner.answer.entry_id, Verdict.BAD)
    assert not told.removed
    assert (await mesh.cache.invalidate(stranger.tenant_id, WithTag(owner.secret))).count == 0


async def check_retrieval(mesh: Mesh, owner: Estate, stranger: Estate) -> None:
    query = SearchQuery(stranger.tenant_id, COLLECTION, f"{owner.secret} word of this house")
    async with mesh.retrieval.search(query) as lists:
        found = [passage for each in [_ async for _ in lists] for passage in each.passages]
    assert found
    assert {passage.document_id for passage in found} == {stranger.document.document_id}
    assert not any(owner.secret in passage.text for passage in found)
    with pytest.raises(DocumentNotFoundError):
        await mesh.retrieval.get(stranger.tenant_id, COLLECTION, owner.document.document_id)
    gone = await mesh.retrieval.delete(stranger.tenant_id, COLLECTION, [owner.document.document_id])
    assert gone.deleted_count == 0


async def watched(client: AnswerClient, tenant_id: str, run_id: str) -> list[Event]:
    """Follow a run as a tenant, and return its events."""
    async with client.watch(tenant_id, run_id) as events:
        return [each.event async for each in events]


async def check_runs(mesh: Mesh, owner: Estate, stranger: Estate) -> None:
    answers = mesh.answers
    with pytest.raises(RunNotFoundError):
        await watched(answers, stranger.tenant_id, owner.run_id)
    with pytest.raises(RunNotFoundError):
        await answers.stop(stranger.tenant_id, owner.run_id)
    with pytest.raises(RunNotFoundError):
        await answers.report(stranger.tenant_id, owner.run_id, Verdict.BAD)


async def check_own(mesh: Mesh, estate: Estate) -> None:
    """Check that a tenant still has all that it had."""
    for layer in LAYERS:
        assert await texts(mesh, estate.lookup(estate.tenant_id, layer)) == estate.secret
    await mesh.retrieval.get(estate.tenant_id, COLLECTION, estate.document.document_id)
    told = await watched(mesh.answers, estate.tenant_id, estate.run_id)
    assert any(isinstance(each, TextDelta) and estate.secret in each.text for each in told)


async def prove(mesh: Mesh, tenant_count: int, pair_count: int) -> None:
    tenants = names(tenant_count)
    estates = {tenant_id: await settle(mesh, tenant_id) for tenant_id in tenants}
    todo = iter(pairs(tenants, pair_count, seed=11))

    async def worker() -> None:
        for owner, stranger in todo:
            for check in (check_cache, check_retrieval, check_runs):
                await check(mesh, estates[owner], estates[stranger])

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_PARALLEL):
            group.create_task(worker())
    for estate in estates.values():
        await check_own(mesh, estate)


async def test_no_tenant_meets_another(mesh: Mesh) -> None:
    await prove(mesh, 12, 60)


@pytest.mark.prove
async def test_no_tenant_meets_another_in_two_thousand_pairs(mesh: Mesh) -> None:
    await prove(mesh, 64, 2000)
    print("tenants: 2000 pairs over cache, retrieval and runs (11 calls each): no crossing")


async def test_tenants_with_the_same_question_get_their_own_answer(mesh: Mesh) -> None:
    tenants = names(6)
    estates = [await settle(mesh, tenant_id) for tenant_id in tenants]
    for _ in range(3):
        for estate in estates:
            told = await mesh.ask(Question(estate.tenant_id, "What is the word of this house?"))
            assert estate.secret in told.text
