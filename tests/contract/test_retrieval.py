import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status

from hasten.common.v1 import common_pb2
from hasten.embedding.v1 import embedding_service_pb2 as embedding_pb
from hasten.embedding.v1.embedding_service_pb2_grpc import (
    EmbeddingServiceServicer,
    add_EmbeddingServiceServicer_to_server,
)
from hasten.retrieval.v1 import retrieval_service_pb2 as pb
from hasten.retrieval.v1.retrieval_service_pb2_grpc import RetrievalServiceStub
from libs.clients.connection import Connection
from libs.clients.embedding import EmbeddingClient
from libs.clients.retrieval import RetrievalClient
from libs.errors import (
    CollectionNotFoundError,
    DependencyUnavailableError,
    DimensionMismatchError,
    DocumentNotFoundError,
    FingerprintMismatchError,
    InvalidFieldError,
    TenantNotAllowedError,
)
from libs.server import Identities, Identity
from libs.server.testing import serving
from libs.values import Filter
from libs.values.retrieval import (
    Document,
    PassageList,
    SearchQuery,
    SearchStage,
    TextFormat,
)
from services.retrieval.library import Library
from services.retrieval.reranking.features import Asked, Candidate
from services.retrieval.reranking.reranker import PairReranker, Reranker
from services.retrieval.servicer import RetrievalServicer
from tests.support.retrieval import HashingEmbedder, library_in

WAIT_S = 10.0


@pytest.fixture
def embedder() -> HashingEmbedder:
    return HashingEmbedder()


@pytest.fixture
async def library(tmp_path: Path, embedder: HashingEmbedder) -> AsyncIterator[Library]:
    async with library_in(tmp_path, embedder) as library:
        await library.create_collection("acme", "docs")
        yield library


@pytest.fixture
async def address(library: Library) -> AsyncIterator[str]:
    async with serving(RetrievalServicer(library).register) as address:
        yield address


@pytest.fixture
async def client(address: str) -> AsyncIterator[RetrievalClient]:
    async with Connection.open(address) as connection:
        yield RetrievalClient(connection)


@pytest.fixture
async def stub(address: str) -> AsyncIterator[RetrievalServiceStub]:
    async with aio.insecure_channel(address) as channel:
        yield RetrievalServiceStub(channel)


async def lists(client: RetrievalClient, query: SearchQuery) -> list[PassageList]:
    async with client.search(query) as found:
        return [each async for each in found]


CATS = Document(
    "cats",
    "# Cats\n\nThey sleep most of the day.\n",
    TextFormat.MARKDOWN,
    title="Animals",
    metadata={"lang": "en"},
    uri="http://example.org/cats",
    scope="staff",
)
DOGS = Document("dogs", "Dogs bark at night.", metadata={"lang": "de"})


async def test_every_field_of_a_passage_crosses_the_wire(
    client: RetrievalClient, embedder: HashingEmbedder
) -> None:
    stored = await client.upsert("acme", "docs", [CATS, DOGS])
    assert (stored.changed_count, stored.passage_count) == (2, 2)
    query = embedder.query("acme", "docs", "sleep", scope="staff", limit=1)
    found = (await lists(client, query))[-1]
    assert (found.stage, found.final) == (SearchStage.FUSED, True)
    assert found.index_version == stored.index_version
    assert found.store_id
    assert found.timing.compute_s > 0
    (passage,) = found.passages
    assert passage.document_id == "cats"
    assert passage.passage_id == f"cats@{stored.index_version}#0"
    assert passage.document_version == stored.index_version
    assert (passage.title, passage.heading) == ("Animals", "Cats")
    assert passage.text == CATS.text[passage.start_offset : passage.end_offset]
    assert passage.uri == CATS.uri
    assert passage.score > 0


async def test_each_list_replaces_a_lesser_one_and_only_the_last_is_final(
    client: RetrievalClient, embedder: HashingEmbedder
) -> None:
    await client.upsert("acme", "docs", [DOGS])
    for _ in range(20):
        found = await lists(client, embedder.query("acme", "docs", "dogs bark"))
        stages = [each.stage for each in found]
        assert stages in ([SearchStage.FUSED], [SearchStage.LEXICAL, SearchStage.FUSED])
        assert [each.final for each in found] == [False] * (len(found) - 1) + [True]


async def test_without_a_vector_the_only_list_is_by_words(client: RetrievalClient) -> None:
    await client.upsert("acme", "docs", [DOGS])
    (found,) = await lists(client, SearchQuery("acme", "docs", "dogs"))
    assert (found.stage, found.final) == (SearchStage.LEXICAL, True)


async def test_a_document_says_its_scope(client: RetrievalClient) -> None:
    await client.upsert("acme", "docs", [CATS, DOGS])
    listed = (await client.list("acme", "docs")).documents
    assert [(each.document_id, each.scope) for each in listed] == [("cats", "staff"), ("dogs", "")]
    assert (await client.get("acme", "docs", "cats")).state.scope == "staff"


class Lengths:
    """A reranker to whom the longest passage is the likeliest; None if it is `silent`."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent

    async def scores(self, asked: Asked, candidates: Sequence[Candidate]) -> list[float] | None:
        return None if self.silent else [float(len(each.text)) for each in candidates]


ALIKE = [Document(f"d{number}", "dogs bark " * number, unsplit=True) for number in range(1, 9)]


async def reranked(
    directory: Path, embedder: HashingEmbedder, reranker: Reranker | None, limit: int = 3
) -> list[PassageList]:
    """All lists of one search over the wire."""
    async with library_in(directory, embedder, reranker=reranker) as library:
        await library.create_collection("acme", "docs")
        await library.upsert("acme", "docs", ALIKE)
        async with (
            serving(RetrievalServicer(library).register) as address,
            Connection.open(address) as connection,
        ):
            query = embedder.query("acme", "docs", "dogs bark", limit=limit)
            return await lists(RetrievalClient(connection), query)


async def test_the_reranked_list_comes_last_after_the_fused_one(
    tmp_path: Path, embedder: HashingEmbedder
) -> None:
    found = await reranked(tmp_path, embedder, Lengths())
    *_, before, after = found
    assert (before.stage, after.stage) == (SearchStage.FUSED, SearchStage.RERANKED)
    assert [each.final for each in found] == [False] * (len(found) - 1) + [True]
    assert len(before.passages) == len(after.passages) == 3
    # Also from below the fused list's end.
    assert [each.document_id for each in after.passages] == ["d8", "d7", "d6"]
    assert [each.score for each in after.passages] == sorted(
        (each.score for each in after.passages), reverse=True
    )
    assert (before.index_version, before.store_id) == (after.index_version, after.store_id)


async def test_without_an_order_the_fused_list_comes_again_as_the_last(
    tmp_path: Path, embedder: HashingEmbedder
) -> None:
    *_, before, after = await reranked(tmp_path, embedder, Lengths(silent=True))
    assert (before.stage, before.final) == (SearchStage.FUSED, False)
    assert (after.stage, after.final) == (SearchStage.FUSED, True)
    assert after.passages == before.passages


async def test_with_the_reranker_off_the_fused_list_is_the_last(
    tmp_path: Path, embedder: HashingEmbedder
) -> None:
    last = (await reranked(tmp_path, embedder, None))[-1]
    assert (last.stage, last.final) == (SearchStage.FUSED, True)


class PairService(EmbeddingServiceServicer):
    """Scores a pair by the length of its second text; takes `delay_s` for it."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.asked: list[str] = []

    def register(self, server: aio.Server) -> None:
        add_EmbeddingServiceServicer_to_server(self, server)

    async def ScorePairs(
        self, request: embedding_pb.ScorePairsRequest, context: object
    ) -> embedding_pb.ScorePairsResponse:
        self.asked.append(request.scorer)
        await asyncio.sleep(self.delay_s)
        return embedding_pb.ScorePairsResponse(
            scores=[len(pair.b) / 100 for pair in request.pairs], scorer=request.scorer
        )


@pytest.mark.parametrize(
    ("delay_s", "limit_s", "stage"),
    [(0.0, WAIT_S, SearchStage.RERANKED), (WAIT_S, 0.2, SearchStage.FUSED)],
)
async def test_a_cross_encoder_puts_in_order_what_it_reads_in_time(
    tmp_path: Path,
    embedder: HashingEmbedder,
    delay_s: float,
    limit_s: float,
    stage: SearchStage,
) -> None:
    service = PairService(delay_s)
    async with serving(service.register) as address, Connection.open(address) as connection:
        client = EmbeddingClient(connection)
        reranker = PairReranker(client, scorer="relevance", limit_s=limit_s)
        last = (await reranked(tmp_path, embedder, reranker))[-1]
    assert (last.stage, last.final) == (stage, True)
    if stage is SearchStage.RERANKED:
        assert service.asked == ["relevance"]
        assert [each.document_id for each in last.passages] == ["d8", "d7", "d6"]


async def test_a_cross_encoder_that_is_not_there_leaves_passages_fused(
    tmp_path: Path, embedder: HashingEmbedder
) -> None:
    async with Connection.open("127.0.0.1:1") as connection:
        reranker = PairReranker(EmbeddingClient(connection), scorer="relevance", limit_s=0.2)
        last = (await reranked(tmp_path, embedder, reranker))[-1]
    assert (last.stage, last.final) == (SearchStage.FUSED, True)


async def test_filters_and_scope_say_what_may_be_found(client: RetrievalClient) -> None:
    await client.upsert("acme", "docs", [CATS, DOGS])
    question = "sleep bark"
    for rest, wanted in [
        ({}, {"dogs"}),
        ({"scope": "staff"}, {"cats", "dogs"}),
        ({"scope": "guests"}, {"dogs"}),
        ({"scope": "staff", "filters": (Filter("lang", ("en", "fr")),)}, {"cats"}),
        ({"filters": (Filter("lang", ("en",)),)}, set()),
    ]:
        (found,) = await lists(client, SearchQuery("acme", "docs", question, **rest))
        assert {passage.document_id for passage in found.passages} == wanted


async def test_an_omitted_limit_is_eight(
    client: RetrievalClient, stub: RetrievalServiceStub
) -> None:
    await client.upsert("acme", "docs", [Document(f"d{n}", "word") for n in range(20)])
    request = pb.SearchPassagesRequest(tenant_id="acme", collection="docs", question="word")
    responses = [each async for each in stub.SearchPassages(request)]
    assert len(responses[-1].passages) == 8


async def test_an_omitted_page_size_is_a_hundred(
    client: RetrievalClient, stub: RetrievalServiceStub
) -> None:
    for start in (0, 60):
        numbers = range(start, start + 60)
        await client.upsert("acme", "docs", [Document(f"d{n:03}", "word") for n in numbers])
    request = pb.ListDocumentsRequest(tenant_id="acme", collection="docs")
    page = await stub.ListDocuments(request)
    assert len(page.documents) == 100
    request.page_token = page.next_page_token
    rest = await stub.ListDocuments(request)
    assert [each.document_id for each in rest.documents] == [f"d{n:03}" for n in range(100, 120)]
    assert rest.next_page_token == ""


async def test_a_document_comes_back_as_it_was_given(client: RetrievalClient) -> None:
    stored = await client.upsert("acme", "docs", [CATS])
    found = await client.get("acme", "docs", "cats")
    assert found.document == CATS
    assert found.state.version == stored.index_version
    assert found.state.passage_count == 1
    assert len(found.state.content_sha256) == 64
    assert found.state.updated_at_s == 1_700_000_000.5
    (listed,) = (await client.list("acme", "docs")).documents
    assert listed == found.state


async def test_collections_come_and_go_without_errors(client: RetrievalClient) -> None:
    made = await client.create_collection("acme", "new.one-1_x")
    again = await client.create_collection("acme", "new.one-1_x")
    assert (made.created, again.created) == (True, False)
    assert made.index_version == again.index_version
    await client.upsert("acme", "new.one-1_x", [CATS, DOGS])
    gone = await client.delete_collection("acme", "new.one-1_x")
    never = await client.delete_collection("acme", "new.one-1_x")
    assert (gone.deleted_count, never.deleted_count) == (2, 0)
    assert never.index_version == gone.index_version


async def test_what_is_not_there_is_not_found(client: RetrievalClient) -> None:
    with pytest.raises(CollectionNotFoundError) as caught:
        await lists(client, SearchQuery("acme", "nope", "x"))
    assert caught.value.metadata == {"tenant_id": "acme", "collection": "nope"}
    for call in (
        client.upsert("acme", "nope", [DOGS]),
        client.delete("acme", "nope", ["x"]),
        client.get("acme", "nope", "x"),
        client.list("acme", "nope"),
        client.upsert("rival", "docs", [DOGS]),
    ):
        with pytest.raises(CollectionNotFoundError):
            await call
    with pytest.raises(DocumentNotFoundError):
        await client.get("acme", "docs", "x")


async def test_vectors_of_another_length_or_model_are_refused(
    client: RetrievalClient, embedder: HashingEmbedder
) -> None:
    await client.upsert("acme", "docs", [DOGS])
    short = np.array([1, 0], "<f4").tobytes()
    with pytest.raises(DimensionMismatchError) as caught:
        await lists(client, SearchQuery("acme", "docs", "x", short, embedder.fingerprint))
    assert caught.value.metadata == {"got": "2", "want": "32"}
    vector = embedder.vector("x").tobytes()
    with pytest.raises(FingerprintMismatchError) as mismatch:
        await lists(client, SearchQuery("acme", "docs", "x", vector, "other"))
    assert mismatch.value.code is grpc.StatusCode.FAILED_PRECONDITION


async def test_while_vectors_cannot_be_made_documents_are_refused_with_a_time_to_retry(
    client: RetrievalClient, embedder: HashingEmbedder
) -> None:
    embedder.is_dead = True
    with pytest.raises(DependencyUnavailableError) as caught:
        await client.upsert("acme", "docs", [CATS])
    assert caught.value.retry_after_s == 1.0
    assert (await client.list("acme", "docs")).documents == ()


# --- limits ---------------------------------------------------------------------------


def query(**changes: object) -> pb.SearchPassagesRequest:
    given = {"tenant_id": "acme", "collection": "docs", "question": "x"}
    return pb.SearchPassagesRequest(**{**given, **changes})


def upsert(*documents: pb.Document, **changes: object) -> pb.UpsertDocumentsRequest:
    given = {"tenant_id": "acme", "collection": "docs", "documents": documents}
    return pb.UpsertDocumentsRequest(**{**given, **changes})


def document(**changes: object) -> pb.Document:
    given = {"document_id": "d", "text": "x", "format": pb.TEXT_FORMAT_PLAIN}
    return pb.Document(**{**given, **changes})


def condition(key: str = "k", count: int = 1, length: int = 1) -> common_pb2.Filter:
    return common_pb2.Filter(key=key, any_of=["v" * length] * count)


VECTOR = np.array([1] + [0] * 31, "<f4").tobytes()
LONG_VECTOR = np.array([2] + [0] * 31, "<f4").tobytes()
NAN_VECTOR = np.array([float("nan")] + [0] * 31, "<f4").tobytes()
GOOD = document(document_id="good")

REFUSED = [
    ("SearchPassages", query(tenant_id=""), "tenant_id"),
    ("SearchPassages", query(tenant_id="*"), "tenant_id"),
    ("SearchPassages", query(collection=""), "collection"),
    ("SearchPassages", query(collection="a b"), "collection"),
    ("SearchPassages", query(collection="c" * 65), "collection"),
    ("SearchPassages", query(question=""), "question"),
    ("SearchPassages", query(question="q" * 8_001), "question"),
    ("SearchPassages", query(limit=-1), "limit"),
    ("SearchPassages", query(limit=101), "limit"),
    ("SearchPassages", query(filters=[condition()] * 17), "filters"),
    ("SearchPassages", query(filters=[condition(""), condition()]), "filters[0].key"),
    ("SearchPassages", query(filters=[condition("k" * 65)]), "filters[0].key"),
    ("SearchPassages", query(filters=[condition(), condition(count=0)]), "filters[1].any_of"),
    ("SearchPassages", query(filters=[condition(count=33)]), "filters[0].any_of"),
    ("SearchPassages", query(filters=[condition(length=257)]), "filters[0].any_of[0]"),
    ("SearchPassages", query(embedding=VECTOR), "embedding_fingerprint"),
    ("SearchPassages", query(embedding=b"abc", embedding_fingerprint="f"), "embedding"),
    ("SearchPassages", query(embedding=LONG_VECTOR, embedding_fingerprint="f"), "embedding"),
    ("SearchPassages", query(embedding=NAN_VECTOR, embedding_fingerprint="f"), "embedding"),
    ("UpsertDocuments", upsert(), "documents"),
    ("UpsertDocuments", upsert(*[GOOD] * 65), "documents"),
    ("UpsertDocuments", upsert(GOOD, GOOD), "documents[1].document_id"),
    ("UpsertDocuments", upsert(GOOD, document(document_id="")), "documents[1].document_id"),
    ("UpsertDocuments", upsert(document(document_id="d" * 513)), "documents[0].document_id"),
    ("UpsertDocuments", upsert(document(title="t" * 513)), "documents[0].title"),
    ("UpsertDocuments", upsert(GOOD, document(text="")), "documents[1].text"),
    ("UpsertDocuments", upsert(document(text="t" * 2_000_001)), "documents[0].text"),
    ("UpsertDocuments", upsert(document(format=pb.TEXT_FORMAT_UNSPECIFIED)), "documents[0].format"),
    ("UpsertDocuments", upsert(document(format=99)), "documents[0].format"),
    (
        "UpsertDocuments",
        upsert(document(metadata={f"k{n}": "v" for n in range(33)})),
        "documents[0].metadata",
    ),
    ("UpsertDocuments", upsert(document(metadata={"": "v"})), "documents[0].metadata"),
    ("UpsertDocuments", upsert(document(metadata={"k" * 65: "v"})), "documents[0].metadata"),
    ("UpsertDocuments", upsert(document(metadata={"k": "v" * 257})), 'documents[0].metadata["k"]'),
    ("UpsertDocuments", upsert(document(uri="u" * 2_049)), "documents[0].uri"),
    ("UpsertDocuments", upsert(GOOD, tenant_id="*"), "tenant_id"),
    (
        "DeleteDocuments",
        pb.DeleteDocumentsRequest(tenant_id="acme", collection="docs"),
        "document_ids",
    ),
    (
        "DeleteDocuments",
        pb.DeleteDocumentsRequest(
            tenant_id="acme", collection="docs", document_ids=map(str, range(1_001))
        ),
        "document_ids",
    ),
    (
        "DeleteDocuments",
        pb.DeleteDocumentsRequest(tenant_id="acme", collection="docs", document_ids=["a", ""]),
        "document_ids[1]",
    ),
    ("GetDocument", pb.GetDocumentRequest(tenant_id="acme", collection="docs"), "document_id"),
    (
        "ListDocuments",
        pb.ListDocumentsRequest(tenant_id="acme", collection="docs", page_size=1_001),
        "page_size",
    ),
    (
        "ListDocuments",
        pb.ListDocumentsRequest(tenant_id="acme", collection="docs", page_size=-1),
        "page_size",
    ),
    (
        "ListDocuments",
        pb.ListDocumentsRequest(tenant_id="acme", collection="docs", page_token="?"),  # noqa: S106 - no secret
        "page_token",
    ),
    ("CreateCollection", pb.CreateCollectionRequest(tenant_id="acme"), "collection"),
    ("DeleteCollection", pb.DeleteCollectionRequest(tenant_id="acme"), "collection"),
    ("WatchChanges", pb.WatchChangesRequest(tenant_id="acme", after_version=-1), "after_version"),
    ("WatchChanges", pb.WatchChangesRequest(), "tenant_id"),
]


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    REFUSED,
    ids=[f"{method}-{number}-{field}" for number, (method, _, field) in enumerate(REFUSED)],
)
async def test_a_field_outside_its_limits_is_named_and_nothing_is_done(
    stub: RetrievalServiceStub, library: Library, method: str, request_: object, field: str
) -> None:
    call = getattr(stub, method)(request_)
    with pytest.raises(aio.AioRpcError) as caught:
        await (call if isinstance(call, aio.UnaryUnaryCall) else call.read())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    assert info.reason == "INVALID_FIELD"
    assert [violation.field for violation in bad.field_violations] == [field]
    assert (await library.list("acme", "docs", 10, "")).documents == ()


async def test_a_limit_is_said_together_with_what_was_given(client: RetrievalClient) -> None:
    long = Document("d", "x", metadata={"k": "v" * 300})
    with pytest.raises(InvalidFieldError) as caught:
        await client.upsert("acme", "docs", [DOGS, CATS, long])
    wanted = 'documents[2].metadata["k"]: must have at most 256 characters, has 300'
    assert str(caught.value) == wanted


async def test_everything_at_its_limit_is_taken(client: RetrievalClient) -> None:
    largest = Document(
        "d" * 512,
        "word " * 400_000,
        title="t" * 512,
        metadata={f"{n:064}": "v" * 256 for n in range(32)},
        uri="u" * 2_048,
        unsplit=True,
    )
    many = [Document(f"{n}", "x") for n in range(63)]
    await client.upsert("acme", "docs", [largest, *many])
    filters = tuple(Filter(f"{n:064}", ("v" * 256,) * 32) for n in range(16))
    question = SearchQuery("acme", "docs", "word " * 1_600, filters=filters, limit=100)
    (found,) = await lists(client, question)
    assert [passage.document_id for passage in found.passages] == ["d" * 512]
    gone = await client.delete("acme", "docs", [f"{n}" for n in range(1_000)])
    assert gone.deleted_count == 63


# --- watching -------------------------------------------------------------------------


async def test_a_watcher_hears_of_a_write_within_milliseconds_of_its_acknowledgement(
    client: RetrievalClient,
) -> None:
    async with asyncio.timeout(WAIT_S), client.watch("*") as batches:
        await anext(batches)
        stored = await client.upsert("acme", "docs", [DOGS])
        acknowledged_s = time.monotonic()
        async for batch in batches:
            if batch.changes:
                break
    assert time.monotonic() - acknowledged_s < 0.1
    (change,) = batch.changes
    assert (change.tenant_id, change.collection, change.document_id, change.deleted) == (
        "acme",
        "docs",
        "dogs",
        False,
    )
    assert change.version == batch.index_version == stored.index_version
    assert batch.is_complete


async def test_a_quiet_watch_gives_a_sign_of_life_every_200_ms(client: RetrievalClient) -> None:
    times = []
    async with asyncio.timeout(WAIT_S), client.watch("acme") as batches:
        async for _ in batches:
            times.append(time.monotonic())
            if len(times) == 8:
                break
    gaps = sorted(later - earlier for earlier, later in pairwise(times))
    assert gaps[len(gaps) // 2] < 0.2


async def test_a_watch_ends_when_the_server_drains(
    client: RetrievalClient, library: Library
) -> None:
    async with asyncio.timeout(WAIT_S), client.watch("*") as batches:
        await anext(batches)
        library.drain()
        assert [batch async for batch in batches if batch.changes] == []


async def test_only_an_identity_with_every_tenant_may_watch_them_all(library: Library) -> None:
    known = Identities.of(
        [
            ("one", Identity("one", frozenset({"acme"}))),
            ("all", Identity("all", frozenset({"*"}))),
        ]
    )
    async with serving(RetrievalServicer(library).register, identities=known) as address:
        async with Connection.open(address, token="one") as connection:  # noqa: S106 - a test's
            client = RetrievalClient(connection)
            for tenant in ("*", "rival"):
                async with client.watch(tenant) as batches:
                    with pytest.raises(TenantNotAllowedError):
                        await anext(batches)
            with pytest.raises(TenantNotAllowedError):
                await client.get("rival", "docs", "x")
        async with Connection.open(address, token="all") as connection:  # noqa: S106 - a test's
            async with RetrievalClient(connection).watch("*") as batches:
                assert (await anext(batches)).index_version == 1
