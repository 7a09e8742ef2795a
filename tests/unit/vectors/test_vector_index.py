import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from libs.errors import DimensionMismatchError
from libs.vectors import Found, VectorIndex
from libs.vectors.delta import Delta

DIMENSIONS = 8
Matrix = NDArray[np.float32]


def unit_rows(count: int, seed: int, dimensions: int = DIMENSIONS) -> Matrix:
    rows = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def assert_exact(
    found: Found, vectors: dict[int, Matrix], asked: Matrix, k: int, allowed: set[int] | None
) -> None:
    rows = {i: v for i, v in vectors.items() if allowed is None or i in allowed}
    best = sorted((float(v @ asked) for v in rows.values()), reverse=True)[:k]
    assert np.allclose(found.scores, best, atol=1e-5)
    assert len(set(found.ids.tolist())) == len(best)
    assert np.allclose([rows[i] @ asked for i in found.ids.tolist()], found.scores, atol=1e-5)


ids = st.lists(st.integers(-3, 20), max_size=12, unique=True)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), ids),
        st.tuples(st.just("remove"), ids),
        st.tuples(st.just("compact"), st.just([])),
    ),
    max_size=12,
)


@given(
    steps=steps, k=st.integers(1, 30), allowed=st.none() | ids, graph_above=st.sampled_from([0, 99])
)
@settings(max_examples=300)
def test_any_history_finds_what_looking_at_every_vector_finds(
    steps: list[tuple[str, list[int]]], k: int, allowed: list[int] | None, graph_above: int
) -> None:
    index, vectors = VectorIndex(DIMENSIONS, graph_above=graph_above), {}
    for number, (step, which) in enumerate(steps):
        if step == "add":
            rows = unit_rows(len(which), number)
            index.add(which, rows)
            vectors.update(zip(which, rows, strict=True))
        elif step == "remove":
            assert index.remove(which) == sum(vectors.pop(i, None) is not None for i in which)
        else:
            index.compact()
        asked = unit_rows(1, 1_000 + number)[0]
        found = index.search(asked, k, allowed)
        assert_exact(found, vectors, asked, k, None if allowed is None else set(allowed))
    assert len(index) == len(vectors)
    assert index.ids().tolist() == sorted(vectors)


def test_an_added_id_replaces_the_one_before() -> None:
    index = VectorIndex(2)
    index.add([1, 2], [[1, 0], [0, 1]])
    index.compact()
    index.add([1], [[0, -1]])
    assert index.search([1, 0], 2).ids.tolist() == [1, 2]
    assert index.search([0, 1], 2).scores.tolist() == [1, -1]


def test_equal_scores_come_in_the_order_of_ids() -> None:
    index = VectorIndex(2)
    index.add([9, 3, 5], [[1, 0], [1, 0], [1, 0]])
    assert index.search([1, 0], 3).ids.tolist() == [3, 5, 9]


def test_nothing_allowed_finds_nothing() -> None:
    index = VectorIndex.rebuilt(2, [1], [[1, 0]])
    assert len(index.search([1, 0], 5, []).ids) == 0


def test_a_question_of_the_wrong_length_says_both_lengths() -> None:
    with pytest.raises(DimensionMismatchError) as caught:
        VectorIndex(2).search([1, 2, 3], 1)
    assert caught.value.metadata == {"got": "3", "want": "2"}


@pytest.mark.parametrize(
    ("which", "rows", "problem"),
    [
        ([1, 1], [[1, 0], [0, 1]], "twice"),
        ([1], [[1, 0, 0]], "1 x 2"),
        ([1, 2], [[1, 0]], "2 x 2"),
        ([1], [[float("nan"), 0]], "not finite"),
    ],
)
def test_a_bad_write_is_refused_and_changes_nothing(
    which: list[int], rows: list[list[float]], problem: str
) -> None:
    index = VectorIndex.rebuilt(2, [1], [[1, 0]])
    with pytest.raises(ValueError, match=problem):
        index.add(which, rows)
    assert index.search([1, 0], 5).scores.tolist() == [1]


def test_fewer_than_one_neighbour_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        VectorIndex(2).search([1, 0], 0)


def clustered_rows(count: int, seed: int) -> Matrix:
    centres = unit_rows(100, seed, 64)
    rows = np.repeat(centres, count // 100, axis=0) + 0.6 * unit_rows(count, seed + 1, 64)
    normal: Matrix = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return normal


@pytest.mark.parametrize("share", [1.0, 0.5, 0.02])
def test_a_graph_finds_nineteen_of_twenty_neighbours(share: float) -> None:
    rows = clustered_rows(4_000, 3)
    index = VectorIndex.rebuilt(64, np.arange(4_000), rows, graph_above=1_000)
    assert index.wants_compaction
    index.compact()
    assert not index.wants_compaction
    allowed = np.flatnonzero(np.random.default_rng(4).random(4_000) < share)
    hits = 0
    for asked in clustered_rows(100, 5):
        best = allowed[np.argsort(-(rows[allowed] @ asked))[:10]]
        hits += len(np.intersect1d(best, index.search(asked, 10, allowed).ids))
    assert hits / 1_000 >= 0.95


def test_all_neighbours_are_found_when_nearly_all_of_a_graph_is_dead() -> None:
    rows = clustered_rows(2_000, 6)
    index = VectorIndex.rebuilt(64, np.arange(2_000), rows, graph_above=500)
    index.compact()
    index.remove(np.arange(1_995))
    found = index.search(rows[0], 10)
    assert sorted(found.ids.tolist()) == [1995, 1996, 1997, 1998, 1999]


def test_all_neighbours_are_found_where_the_graph_falls_into_islands() -> None:
    """Copies of one vector link to each other alone; the walk cannot leave them."""
    rows = np.repeat(unit_rows(10, 7), 200, axis=0)
    index = VectorIndex.rebuilt(DIMENSIONS, np.arange(2_000), rows, graph_above=500)
    index.compact()
    assert len(index.search(rows[0], 2_000).ids) == 2_000


def test_a_view_stays_as_it_was_through_writes_and_compactions() -> None:
    index = VectorIndex.rebuilt(2, [1, 2], [[1, 0], [0, 1]])
    index.add([3], [[-1, 0]])
    view = index.view()
    index.add([1, 4], [[0, -1], [0, -1]])
    index.remove([2, 3])
    index.compact()
    assert sorted(view.ids().tolist()) == [1, 2, 3]
    assert view.search([1, 0], 9).scores.tolist() == [1, 0, -1]


def test_a_delta_stays_as_it_was_while_newer_ones_are_made() -> None:
    first = Delta.empty(2).appended(np.array([1, 2]), np.eye(2, dtype=np.float32))
    first.without(np.array([0])).appended(np.array([3]), np.ones((1, 2), np.float32))
    ids, scores = first.search(np.array([[1, 0]], np.float32), 9, None)
    assert (ids.tolist(), scores.tolist()) == ([1, 2], [1, 0])


def test_many_changes_want_a_compaction_and_one_settles_it() -> None:
    index = VectorIndex(DIMENSIONS)
    index.add(np.arange(2_000), unit_rows(2_000, 1))
    assert index.wants_compaction
    index.compact()
    assert not index.wants_compaction
    index.remove(np.arange(1_500))
    assert index.wants_compaction
    index.compact()
    assert not index.wants_compaction
    assert len(index) == 500


def run_all(*jobs: Callable[[], None]) -> None:
    problems: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as problem:  # noqa: BLE001 - a thread's failure must reach the test
            problems.append(problem)

    threads = [threading.Thread(target=guarded, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems


def test_searches_see_whole_writes_while_writers_and_compactions_run() -> None:
    """A writer moves ten ids together between two places; no search ever sees them parted."""
    group, stop = list(range(10)), threading.Event()
    east, west = np.tile([1, 0], (10, 1)), np.tile([-1, 0], (10, 1))
    index = VectorIndex.rebuilt(2, [*group, 99], np.vstack([east, [[0, 1]]]), graph_above=5)

    def write() -> None:
        for turn in range(400):
            index.add(group, west if turn % 2 else east)
        stop.set()

    def compact() -> None:
        while not stop.is_set():
            index.compact()

    def search() -> None:
        while not stop.is_set():
            found = index.search([1, 0], 20)
            scores = dict(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
            assert sorted(scores) == [*group, 99]
            assert len({scores[i] for i in group}) == 1

    run_all(write, compact, search, search)
    assert index.ids().tolist() == [*group, 99]


def test_only_rows_outside_of_the_graph_are_looked_at_one_by_one() -> None:
    index = VectorIndex(4, graph_above=8)
    index.add(range(10), np.eye(10, 4, dtype=np.float32))
    assert index.scanned_count == 10
    index.compact()
    assert index.scanned_count == 0
    index.add([10], np.ones((1, 4), np.float32))
    assert index.scanned_count == 1


def test_without_a_graph_all_rows_are_looked_at() -> None:
    index = VectorIndex(4)
    index.add(range(10), np.eye(10, 4, dtype=np.float32))
    index.compact()
    assert index.scanned_count == 10
