from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.values import FinishReason, Quality
from services.cache.entry import Entry
from services.cache.index import MeaningIndex, Partition
from services.cache.vectors import VectorLengths, unpacked
from tests.unit.cache.parts import MODEL, at_similarity, vector

HERE = Partition("acme", "c", MODEL)
EAST = unpacked(vector(1.0))


def entry(key: str, packed: bytes = vector(1.0), **more: object) -> Entry:
    values: dict[str, object] = {
        "entry_id": f"run-{key}",
        "tenant_id": "acme",
        "key": key,
        "context": "c",
        "question": "q",
        "collection": "",
        "created_at_s": 0.0,
        "expires_at_s": 100.0,
        "finish_reason": FinishReason.END_TURN,
        "quality": Quality.FULL,
        "degraded": False,
        "model": "",
        "prompt": "",
        "sources": (),
        "store_id": "",
        "tags": (),
        "embedding_fingerprint": MODEL,
        "vector": packed,
        "pages": (),
    }
    return Entry(**(values | more))  # type: ignore[arg-type]


@pytest.fixture
def index() -> MeaningIndex:
    return MeaningIndex(VectorLengths())


async def test_the_nearest_question_comes_first(index: MeaningIndex) -> None:
    index.put([entry("far", at_similarity(0.5)), entry("near", at_similarity(0.99))])
    found = await index.search(HERE, EAST, 2)
    assert [each.key for each in found] == ["near", "far"]
    assert found[0].similarity == pytest.approx(0.99, abs=1e-4)


@pytest.mark.parametrize(
    "where", [{"tenant_id": "rival"}, {"context": "d"}, {"embedding_fingerprint": "model-2"}]
)
async def test_nothing_is_found_in_another_partition(
    index: MeaningIndex, where: dict[str, str]
) -> None:
    index.put([entry("elsewhere", **where)])
    assert await index.search(HERE, EAST, 8) == []


async def test_a_new_answer_takes_the_place_of_the_old_one(index: MeaningIndex) -> None:
    index.put([entry("k", entry_id="old")])
    index.put([entry("k", at_similarity(0.95), entry_id="new")])
    (found,) = await index.search(HERE, EAST, 8)
    assert (found.entry_id, index.count("acme")) == ("new", 1)
    assert (index.holds("k", "new"), index.holds("k", "old")) == (True, False)


async def test_one_that_comes_twice_at_once_is_there_once(index: MeaningIndex) -> None:
    index.put([entry("k", entry_id="old"), entry("k", entry_id="new")])
    assert [each.entry_id for each in await index.search(HERE, EAST, 8)] == ["new"]


async def test_removing_one_answer_leaves_its_successor(index: MeaningIndex) -> None:
    index.put([entry("k", entry_id="new")])
    index.remove("k", "old")
    assert index.count("acme") == 1
    index.remove("k", "new")
    index.remove("k", "new")
    assert (index.count("acme"), await index.search(HERE, EAST, 8)) == (0, [])


async def test_what_has_expired_is_swept(index: MeaningIndex) -> None:
    index.put([entry("short", expires_at_s=5.0), entry("long", expires_at_s=50.0)])
    index.put([entry("replaced", expires_at_s=4.0)])
    index.put([entry("replaced", expires_at_s=60.0)])
    index.sweep(10.0)
    found = await index.search(HERE, EAST, 8)
    assert {each.key for each in found} == {"long", "replaced"}


async def test_a_vector_of_another_length_than_its_model_is_left_out(index: MeaningIndex) -> None:
    index.put([entry("right"), entry("wrong", vector(1.0, dimensions=4)), entry("none", b"")])
    assert [each.key for each in await index.search(HERE, EAST, 8)] == ["right"]


async def test_many_are_searched_and_compacted_as_few_are(index: MeaningIndex) -> None:
    random = np.random.default_rng(7)
    rows = random.normal(size=(3_000, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index.put([entry(str(number), row.tobytes()) for number, row in enumerate(rows)])
    before = await index.search(HERE, rows[17], 5)
    await index.compact()
    after = await index.search(HERE, rows[17], 5)
    assert [each.key for each in after] == [each.key for each in before]
    assert before[0].key == "17"


keys = st.sampled_from(["a", "b", "c"])
steps = st.one_of(
    st.tuples(st.just("put"), keys, st.sampled_from(["1", "2"])),
    st.tuples(st.just("remove"), keys, st.sampled_from(["1", "2", ""])),
)


@settings(max_examples=50)
@given(st.lists(steps, max_size=12))
async def test_the_index_holds_what_a_dictionary_would(
    changes: list[tuple[str, str, str]],
) -> None:
    index, held = MeaningIndex(VectorLengths()), dict[str, str]()
    for change, key, name in changes:
        if change == "put":
            index.put([entry(key, entry_id=name)])
            held[key] = name
        else:
            index.remove(key, name)
            if not name or held.get(key) == name:
                held.pop(key, None)
    found = await index.search(HERE, EAST, 8)
    assert {each.key: each.entry_id for each in found} == held
    assert index.count("acme") == len(held)
