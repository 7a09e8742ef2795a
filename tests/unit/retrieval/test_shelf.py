import threading

import numpy as np
import pytest

from services.retrieval.shelf import VERSIONS_KEPT, Shelf, nearest
from services.retrieval.writer import Commit, Patch

EAST, NORTH = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


@pytest.fixture
def shelf() -> Shelf:
    shelf = Shelf(graph_above=10_000, threads=1)
    shelf.apply(added(1, 10, EAST))
    return shelf


def added(version: int, chunk: int, vector: np.ndarray, scope: str = "") -> Commit:
    patch = Patch(1)
    patch.added[scope].append((chunk, vector))
    return Commit(version, patch=patch)


def removed(version: int, chunk: int, scope: str = "") -> Commit:
    patch = Patch(1)
    patch.removed[scope].append(chunk)
    return Commit(version, patch=patch)


def ids_at(shelf: Shelf, version: int) -> list[int]:
    views = shelf.at(1, version)
    assert views is not None
    return sorted(chunk for view in views.values() for chunk in view.ids().tolist())


def test_each_version_keeps_its_own_vectors(shelf: Shelf) -> None:
    shelf.apply(added(2, 11, NORTH, scope="staff"))
    shelf.apply(removed(3, 10))
    assert [ids_at(shelf, version) for version in (1, 2, 3)] == [[10], [10, 11], [11]]
    assert shelf.ids(1) == {"staff": [11]}


def test_a_version_between_two_changes_of_a_collection_is_the_earlier(shelf: Shelf) -> None:
    shelf.apply(Commit(2, patch=Patch(2)))
    shelf.apply(Commit(3, patch=Patch(2)))
    assert ids_at(shelf, 3) == [10]


def test_a_version_that_is_long_gone_is_not_made_up(shelf: Shelf) -> None:
    for version in range(2, VERSIONS_KEPT + 2):
        shelf.apply(added(version, 10 + version, NORTH))
    assert shelf.at(1, 1) is None
    assert len(ids_at(shelf, 2)) == 2
    assert shelf.at(99, VERSIONS_KEPT) is None


def test_a_reader_ahead_of_the_shelf_waits_for_it(shelf: Shelf) -> None:
    later = threading.Timer(0.05, shelf.apply, [added(2, 11, NORTH)])
    later.start()
    assert ids_at(shelf, 2) == [10, 11]
    later.join()


def test_a_deleted_collection_leaves_the_shelf(shelf: Shelf) -> None:
    shelf.apply(Commit(2, patch=Patch(1, exists=False)))
    assert shelf.at(1, 2) is None
    assert shelf.ids(1) == {}


def test_compaction_changes_nothing_that_can_be_found() -> None:
    shelf = Shelf(graph_above=3, threads=1)
    for version in range(1, 8):
        shelf.apply(added(version, version, EAST if version % 2 else NORTH))
    shelf.apply(removed(8, 3))
    before = shelf.at(1, 8)
    shelf.compact()
    after = shelf.at(1, 8)
    assert before is not None
    assert after is not None
    for views in (before, after):
        found = nearest(views, [""], EAST, 3, None)
        assert [chunk for chunk, _ in found] == [1, 5, 7]
    assert [ids_at(shelf, version) for version in (7, 8)] == [
        [1, 2, 3, 4, 5, 6, 7],
        [1, 2, 4, 5, 6, 7],
    ]


def test_an_emptied_scope_may_come_back_with_longer_vectors(shelf: Shelf) -> None:
    shelf.apply(removed(2, 10))
    shelf.apply(added(3, 11, np.array([1, 0, 0], np.float32)))
    assert ids_at(shelf, 3) == [11]


def test_only_the_scopes_that_are_named_are_searched(shelf: Shelf) -> None:
    shelf.apply(added(2, 11, EAST, scope="staff"))
    shelf.apply(added(3, 12, EAST, scope="board"))
    views = shelf.at(1, 3)
    assert views is not None
    assert [chunk for chunk, _ in nearest(views, ["", "staff"], EAST, 9, None)] == [10, 11]
    assert nearest(views, ["", "staff"], EAST, 9, np.array([11, 12])) == [(11, 1.0)]
