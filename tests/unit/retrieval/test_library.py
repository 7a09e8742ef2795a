import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.errors import (
    CollectionNotFoundError,
    DependencyUnavailableError,
    DimensionMismatchError,
    DocumentNotFoundError,
    FingerprintMismatchError,
)
from libs.values import Filter
from libs.values.retrieval import (
    Document,
    PassageList,
    SearchQuery,
    SearchStage,
    TextFormat,
)
from services.retrieval.ingestion import content_sha256
from services.retrieval.library import Library
from services.retrieval.shelf import Shelf
from tests.support.retrieval import HashingEmbedder, best, check_shelf, check_whole, library_in


@pytest.fixture
def embedder() -> HashingEmbedder:
    return HashingEmbedder()


@pytest.fixture
async def library(tmp_path: Path, embedder: HashingEmbedder) -> AsyncIterator[Library]:
    async with library_in(tmp_path, embedder) as library:
        await library.create_collection("acme", "docs")
        yield library


def ids(found: PassageList) -> list[str]:
    return [passage.document_id for passage in found.passages]


CATS = Document("cats", "Cats sleep most of the day.", title="Animals")
DOGS = Document("dogs", "Dogs bark at night.")


async def test_a_stored_document_is_found_by_words_and_by_meaning(
    library: Library, embedder: HashingEmbedder
) -> None:
    await library.upsert("acme", "docs", [CATS, DOGS])
    by_words = await best(library, SearchQuery("acme", "docs", "Do cats sleep?"))
    assert (by_words.stage, ids(by_words)) == (SearchStage.LEXICAL, ["cats"])
    both = await best(library, embedder.query("acme", "docs", "Do cats sleep?"))
    assert (both.stage, ids(both)) == (SearchStage.FUSED, ["cats", "dogs"])


async def test_a_passage_says_where_it_stands(library: Library) -> None:
    text = "# Cats\n\nThey sleep.\n"
    given = Document("c", text, TextFormat.MARKDOWN, title="Animals", uri="http://x/c")
    stored = await library.upsert("acme", "docs", [given])
    (passage,) = (await best(library, SearchQuery("acme", "docs", "sleep"))).passages
    assert passage.passage_id == f"c@{stored.index_version}#0"
    assert passage.document_version == stored.index_version
    assert (passage.title, passage.heading, passage.uri) == ("Animals", "Cats", "http://x/c")
    assert passage.text == "They sleep." == text[passage.start_offset : passage.end_offset]


async def test_titles_and_headings_are_found_by_words(library: Library) -> None:
    given = Document("c", "# Felines\n\nThey sleep.\n", TextFormat.MARKDOWN, title="Animals")
    await library.upsert("acme", "docs", [given])
    for question in ("felines", "animals"):
        assert ids(await best(library, SearchQuery("acme", "docs", question))) == ["c"]


async def test_words_are_found_in_their_other_forms(library: Library) -> None:
    await library.upsert("acme", "docs", [Document("c", "She was running to the café.")])
    for question in ("run", "Runs?", "cafe", "CAFÉ"):
        assert ids(await best(library, SearchQuery("acme", "docs", question))) == ["c"]


async def test_a_question_of_stop_words_or_signs_alone_is_answered(
    library: Library, embedder: HashingEmbedder
) -> None:
    await library.upsert("acme", "docs", [DOGS])
    assert ids(await best(library, SearchQuery("acme", "docs", "at the"))) == ["dogs"]
    assert ids(await best(library, SearchQuery("acme", "docs", "?!"))) == []
    assert ids(await best(library, embedder.query("acme", "docs", "?!"))) == ["dogs"]


async def test_an_empty_collection_has_an_empty_list(
    library: Library, embedder: HashingEmbedder
) -> None:
    found = await best(library, embedder.query("acme", "docs", "anything"))
    assert (found.passages, found.stage) == ((), SearchStage.FUSED)


async def test_the_same_document_again_changes_nothing_and_is_not_embedded_again(
    library: Library, embedder: HashingEmbedder
) -> None:
    first = await library.upsert("acme", "docs", [CATS])
    embedder.texts.clear()
    again = await library.upsert("acme", "docs", [CATS])
    assert (again.index_version, again.changed_count, again.passage_count) == (
        first.index_version,
        0,
        0,
    )
    assert embedder.texts == []


@pytest.mark.parametrize(
    "change",
    [
        {"text": "Cats sleep less."},
        {"title": "Beasts"},
        {"metadata": {"k": "v"}},
        {"uri": "http://x"},
        {"scope": "staff"},
        {"unsplit": True},
        {"format": TextFormat.MARKDOWN},
    ],
)
async def test_any_change_of_what_was_given_makes_a_new_version(
    library: Library, change: dict[str, object]
) -> None:
    first = await library.upsert("acme", "docs", [CATS])
    changed = replace(CATS, **change)
    second = await library.upsert("acme", "docs", [changed, DOGS])
    assert second.changed_count == 2
    assert second.index_version == first.index_version + 1
    stored = await library.get("acme", "docs", "cats")
    assert stored.document == changed
    assert stored.state.version == second.index_version
    assert stored.state.content_sha256 == content_sha256(changed)
    assert stored.state.updated_at_s == 1_700_000_000.5


async def test_a_new_text_replaces_the_old_one_in_every_ranking(
    library: Library, embedder: HashingEmbedder
) -> None:
    await library.upsert("acme", "docs", [CATS])
    await library.upsert("acme", "docs", [replace(CATS, text="Lions hunt.")])
    assert ids(await best(library, SearchQuery("acme", "docs", "sleep"))) == []
    (passage,) = (await best(library, embedder.query("acme", "docs", "cats sleep"))).passages
    assert passage.text == "Lions hunt."


async def test_deleting_twice_is_no_error(library: Library) -> None:
    await library.upsert("acme", "docs", [CATS, DOGS])
    gone = await library.delete("acme", "docs", ["cats", "never-there"])
    again = await library.delete("acme", "docs", ["cats"])
    assert (gone.deleted_count, again.deleted_count) == (1, 0)
    assert again.index_version == gone.index_version
    with pytest.raises(DocumentNotFoundError):
        await library.get("acme", "docs", "cats")


async def test_a_collection_that_exists_stays_as_it_is(library: Library) -> None:
    made = await library.create_collection("acme", "new")
    await library.upsert("acme", "new", [CATS])
    again = await library.create_collection("acme", "new")
    assert (made.created, again.created) == (True, False)
    assert again.index_version == made.index_version
    assert (await library.get("acme", "new", "cats")).document == CATS


async def test_a_deleted_collection_takes_its_documents_along(library: Library) -> None:
    await library.upsert("acme", "docs", [CATS, DOGS])
    gone = await library.delete_collection("acme", "docs")
    assert gone.deleted_count == 2
    with pytest.raises(CollectionNotFoundError):
        await best(library, SearchQuery("acme", "docs", "cats"))
    await library.create_collection("acme", "docs")
    assert ids(await best(library, SearchQuery("acme", "docs", "cats"))) == []
    again = await library.delete_collection("acme", "never-there")
    assert again.deleted_count == 0


async def test_without_vectors_nothing_is_stored(
    library: Library, embedder: HashingEmbedder
) -> None:
    embedder.is_dead = True
    with pytest.raises(DependencyUnavailableError):
        await library.upsert("acme", "docs", [CATS])
    assert (await library.list("acme", "docs", 10, "")).documents == ()
    blank = Document("blank", " \n ")
    embedder.is_dead = False
    assert (await library.upsert("acme", "docs", [blank])).passage_count == 0


async def test_vectors_of_another_model_are_refused_until_the_collection_is_empty(
    library: Library, embedder: HashingEmbedder
) -> None:
    await library.upsert("acme", "docs", [CATS])
    query = embedder.query("acme", "docs", "cats")
    with pytest.raises(FingerprintMismatchError):
        await best(library, replace(query, embedding_fingerprint="other"))
    embedder.fingerprint, embedder.dimensions = "other", 8
    with pytest.raises(FingerprintMismatchError, match="new collection"):
        await library.upsert("acme", "docs", [DOGS])
    with pytest.raises(DimensionMismatchError):
        await best(library, embedder.query("acme", "docs", "cats"))
    assert ids(await best(library, query)) == ["cats"]
    await library.delete("acme", "docs", ["cats"])
    await library.upsert("acme", "docs", [DOGS])
    assert ids(await best(library, embedder.query("acme", "docs", "dogs"))) == ["dogs"]


async def test_filters_must_all_hold(library: Library, embedder: HashingEmbedder) -> None:
    rows = [("a", "en", "1"), ("b", "en", "2"), ("c", "de", "1"), ("d", "fr", "2")]
    await library.upsert(
        "acme",
        "docs",
        [Document(i, f"word {i}", metadata={"lang": lang, "part": n}) for i, lang, n in rows],
    )
    english_or_german = Filter("lang", ("en", "de"))
    first_part = Filter("part", ("1",))
    for filters, wanted in [
        ((english_or_german,), {"a", "b", "c"}),
        ((english_or_german, first_part), {"a", "c"}),
        ((english_or_german, Filter("part", ("9",))), set()),
        ((Filter("none", ("x",)),), set()),
    ]:
        for query in (
            SearchQuery("acme", "docs", "word", filters=filters),
            embedder.query("acme", "docs", "word", filters=filters),
        ):
            assert set(ids(await best(library, query))) == wanted


async def test_a_narrow_filter_still_fills_the_list(
    library: Library, embedder: HashingEmbedder
) -> None:
    """The nearest 200 of 400 passages all miss the filter; the six that pass are found."""
    for start in range(0, 400, 50):
        numbers = range(start, start + 50)
        many = [Document(f"m{n}", "near words", metadata={"k": "no"}) for n in numbers]
        await library.upsert("acme", "docs", many)
    few = [Document(f"f{n}", "far things", metadata={"k": "yes"}) for n in range(6)]
    await library.upsert("acme", "docs", few)
    query = embedder.query("acme", "docs", "near words", limit=6, filters=(Filter("k", ("yes",)),))
    assert len((await best(library, query)).passages) == 6


async def test_a_list_is_as_long_as_was_asked(library: Library, embedder: HashingEmbedder) -> None:
    for start in (0, 60):
        batch = [Document(f"d{n}", f"word number {n}") for n in range(start, start + 60)]
        await library.upsert("acme", "docs", batch)
    for limit in (1, 8, 100):
        query = embedder.query("acme", "docs", "word", limit=limit)
        found = await best(library, query)
        assert len(found.passages) == limit == len(set(ids(found)))


async def test_pages_list_every_document_once_by_id(library: Library) -> None:
    names = [f"d{n:02}/ö" for n in range(25)]
    await library.upsert("acme", "docs", [Document(name, "x") for name in reversed(names)])
    seen, token = [], ""
    while True:
        page = await library.list("acme", "docs", 10, token)
        seen += [each.document_id for each in page.documents]
        token = page.next_page_token
        if not token:
            break
    assert seen == names


async def test_a_document_with_odd_characters_comes_back_as_it_was(library: Library) -> None:
    odd = Document("a\0b\"'%", "x\0 needle \u2028 🙂 '; DROP TABLE documents;--", title='"*')
    await library.upsert("acme", "docs", [odd])
    assert (await library.get("acme", "docs", odd.document_id)).document == odd
    assert ids(await best(library, SearchQuery("acme", "docs", "needle"))) == [odd.document_id]
    await library.upsert("acme", "docs", [replace(odd, text="other")])
    assert ids(await best(library, SearchQuery("acme", "docs", "needle"))) == []


async def test_two_writers_of_one_document_leave_one_of_their_texts(library: Library) -> None:
    given = [Document("d", f"text number {n}") for n in range(20)]
    await asyncio.gather(*(library.upsert("acme", "docs", [each]) for each in given))
    found = await best(library, SearchQuery("acme", "docs", "text number", limit=100))
    assert [passage.text for passage in found.passages] == [
        (await library.get("acme", "docs", "d")).document.text
    ]


async def test_a_document_deleted_while_it_looked_unchanged_is_stored_again(
    tmp_path: Path,
) -> None:
    """Another caller deletes `cats` while `dogs`, stored with it, is being embedded."""

    class Slow(HashingEmbedder):
        async def embed(self, texts):  # noqa: ANN001, ANN202 - as the one it stands for
            if texts == [DOGS.text]:
                await library.delete("acme", "docs", ["cats"])
            return await super().embed(texts)

    async with library_in(tmp_path, Slow()) as library:
        await library.create_collection("acme", "docs")
        await library.upsert("acme", "docs", [CATS])
        stored = await library.upsert("acme", "docs", [CATS, DOGS])
        assert stored.changed_count == 2
        assert (await library.get("acme", "docs", "cats")).document == CATS


async def test_searches_are_exact_for_the_version_they_name_while_others_write(
    library: Library, embedder: HashingEmbedder
) -> None:
    """A writer moves all documents from one text to another; no list mixes the two."""
    names = [f"d{n}" for n in range(12)]
    by_version: dict[int, str] = {}
    done = asyncio.Event()

    async def write() -> None:
        for turn in range(60):
            text = f"shared words turn{turn}"
            stored = await library.upsert("acme", "docs", [Document(n, text) for n in names])
            by_version[stored.index_version] = text
        done.set()

    async def search() -> list[PassageList]:
        found = []
        while not done.is_set():
            query = embedder.query("acme", "docs", "shared words", limit=100)
            found += [each async for each in library.search(query)]
        return found

    await library.upsert("acme", "docs", [Document(n, "shared words first") for n in names])
    by_version[(await library.list("acme", "docs", 1, "")).index_version] = "shared words first"
    *results, _ = await asyncio.gather(search(), search(), write())
    assert all(results)
    for found in [each for result in results for each in result]:
        assert {passage.text for passage in found.passages} == {by_version[found.index_version]}
        assert sorted(ids(found)) == sorted(names)


async def test_a_search_that_is_left_lets_the_next_one_read(
    tmp_path: Path, embedder: HashingEmbedder
) -> None:
    async with library_in(tmp_path, embedder, readers=1) as library:
        await library.create_collection("acme", "docs")
        await library.upsert("acme", "docs", [CATS])
        for _ in range(20):
            task = asyncio.create_task(best(library, embedder.query("acme", "docs", "cats")))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert ids(await best(library, SearchQuery("acme", "docs", "cats"))) == ["cats"]


async def test_a_search_says_how_long_it_waited_for_its_turn(
    tmp_path: Path, embedder: HashingEmbedder
) -> None:
    async with library_in(tmp_path, embedder, readers=1) as library:
        await library.create_collection("acme", "docs")
        await library.upsert("acme", "docs", [CATS])
        first = library.search(SearchQuery("acme", "docs", "cats"))
        assert (await anext(first)).timing.queue_s < 0.05
        second = asyncio.create_task(best(library, SearchQuery("acme", "docs", "cats")))
        await asyncio.sleep(0.1)
        await first.aclose()
        assert (await second).timing.queue_s >= 0.05


async def test_a_large_collection_is_searched_through_a_graph(tmp_path: Path) -> None:
    embedder = HashingEmbedder(dimensions=512)
    shelf = Shelf(graph_above=50, threads=1)
    async with library_in(tmp_path, embedder, shelf=shelf) as library:
        await library.create_collection("acme", "docs")
        for start in range(0, 120, 60):
            batch = [Document(f"d{n}", f"word{n} common") for n in range(start, start + 60)]
            await library.upsert("acme", "docs", batch)
        await asyncio.to_thread(shelf.compact)
        found = await best(library, embedder.query("acme", "docs", "word77 common"))
        assert ids(found)[0] == "d77"
        await library.delete("acme", "docs", ["d77"])
        found = await best(library, embedder.query("acme", "docs", "word77 common", limit=100))
        assert len(found.passages) == 100
        assert "d77" not in ids(found)


# --- against a model ------------------------------------------------------------------

TENANTS = ("acme", "rival")
COLLECTIONS = ("docs", "more")
WORDS = ("alpha", "beta", "gamma", "delta")
documents = st.builds(
    Document,
    st.sampled_from(["a", "b", "c"]),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
    scope=st.sampled_from(["", "staff"]),
    metadata=st.sampled_from([{}, {"k": "v"}]),
)
places = st.tuples(st.sampled_from(TENANTS), st.sampled_from(COLLECTIONS))
steps = st.one_of(
    st.tuples(
        st.just("upsert"),
        places,
        st.lists(documents, min_size=1, max_size=3, unique_by=lambda d: d.document_id),
    ),
    st.tuples(st.just("delete"), places, st.lists(st.sampled_from("abc"), min_size=1)),
    st.tuples(st.just("create"), places, st.none()),
    st.tuples(st.just("drop"), places, st.none()),
)


@dataclass
class Model:
    """What the library should hold: texts by place and id, and the last change of each."""

    held: dict[tuple[str, str], dict[str, Document]] = field(default_factory=dict)
    changes: dict[tuple[str, str, str], tuple[int, bool]] = field(default_factory=dict)
    version: int = 0

    def apply(self, step: str, place: tuple[str, str], what: object) -> bool:
        """Do a step; return False if it must fail."""
        if step == "create":
            if place not in self.held:
                self.version += 1
                self.held[place] = {}
            return True
        if step == "drop":
            if place in self.held:
                self._change(place, list(self.held.pop(place)), deleted=True, always=True)
            return True
        if place not in self.held:
            return False
        held = self.held[place]
        if step == "upsert":
            changed = [d for d in what if held.get(d.document_id) != d]
            held.update({d.document_id: d for d in changed})
            self._change(place, [d.document_id for d in changed], deleted=False)
        else:
            gone = [name for name in dict.fromkeys(what) if held.pop(name, None)]
            self._change(place, gone, deleted=True)
        return True

    def _change(
        self, place: tuple[str, str], names: list[str], *, deleted: bool, always: bool = False
    ) -> None:
        if names or always:
            self.version += 1
            self.changes.update({(*place, name): (self.version, deleted) for name in names})


async def perform(library: Library, step: str, place: tuple[str, str], what: object) -> int:
    if step == "create":
        return (await library.create_collection(*place)).index_version
    if step == "drop":
        return (await library.delete_collection(*place)).index_version
    if step == "upsert":
        return (await library.upsert(*place, what)).index_version
    return (await library.delete(*place, what)).index_version


async def assert_same(library: Library, model: Model, embedder: HashingEmbedder) -> None:
    for place, held in model.held.items():
        page = await library.list(*place, 10, "")
        assert [each.document_id for each in page.documents] == sorted(held)
        assert page.index_version == model.version
        for scope in ("", "staff"):
            for filters in ((), (Filter("k", ("v",)),)):
                seen = {
                    name: d
                    for name, d in held.items()
                    if d.scope in ("", scope) and (not filters or d.metadata)
                }
                query = SearchQuery(*place, "alpha", scope=scope, filters=filters)
                by_words = await best(library, query)
                assert set(ids(by_words)) == {n for n, d in seen.items() if "alpha" in d.text}
                asked = embedder.query(*place, "alpha", scope=scope, filters=filters)
                both = await best(library, asked)
                assert set(ids(both)) == set(seen)
                assert both.index_version == model.version
    for tenant in (*TENANTS, "*"):
        batches = library.watch(tenant, 0)
        first = await anext(batches)
        await batches.aclose()
        told = {
            (c.tenant_id, c.collection, c.document_id): (c.version, c.deleted)
            for c in first.changes
        }
        wanted = {k: v for k, v in model.changes.items() if tenant in ("*", k[0])}
        assert told == wanted
        assert first.index_version == model.version


async def check_history(
    directory: Path, history: list[tuple[str, tuple[str, str], object]]
) -> None:
    embedder, model = HashingEmbedder(), Model()
    async with library_in(directory, embedder) as library:
        for step, place, what in history:
            if model.apply(step, place, what):
                version = await perform(library, step, place, what)
                assert version == model.version or step == "create"
            else:
                with pytest.raises(CollectionNotFoundError):
                    await perform(library, step, place, what)
        await assert_same(library, model, embedder)
    shelf = Shelf(graph_above=10_000, threads=1)
    async with library_in(directory, embedder, shelf=shelf) as library:
        await assert_same(library, model, embedder)
    await asyncio.to_thread(check_whole, directory)
    await asyncio.to_thread(check_shelf, directory, shelf)


@given(history=st.lists(steps, max_size=12))
@settings(max_examples=40, deadline=None)
def test_any_history_leaves_what_a_plain_dictionary_would(
    history: list[tuple[str, tuple[str, str], object]],
) -> None:
    everywhere = [("create", (t, c), None) for t in TENANTS for c in COLLECTIONS]
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(check_history(Path(directory), [*everywhere, *history]))


async def test_two_thousand_pairs_of_place_and_asker_never_cross(
    tmp_path: Path, embedder: HashingEmbedder
) -> None:
    """Each document says whom it is for; whoever asks gets all that are theirs, no other."""
    random = np.random.default_rng(7)
    tenants, names, scopes = ("t1", "t2", "t3"), ("c1", "c2"), ("", "s1", "s2")
    places = [(t, c, s) for t in tenants for c in names for s in scopes]
    async with library_in(tmp_path, embedder) as library:
        for tenant in tenants:
            for name in names:
                await library.create_collection(tenant, name)
                given = [
                    Document(f"{s}-{n}", f"secret of {tenant} {name} {s}".strip(), scope=s)
                    for s in scopes
                    for n in range(3)
                ]
                await library.upsert(tenant, name, given)
        for _ in range(2_000):
            owner, asker = (places[i] for i in random.integers(len(places), size=2))
            question = f"secret of {' '.join(owner)}"
            tenant, name, scope = asker
            mine = {f"secret of {tenant} {name} {s}".strip() for s in ("", scope)}
            if random.random() < 0.5:
                query = embedder.query(tenant, name, question, scope=scope, limit=100)
            else:
                query = SearchQuery(tenant, name, question, scope=scope, limit=100)
            found = await best(library, query)
            assert {passage.text for passage in found.passages} == mine
