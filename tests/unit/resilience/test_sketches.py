import zlib
from pathlib import Path

import pytest

from libs.resilience.sketch import Sketch
from libs.resilience.sketches import Sketches


def sketches(max_keys: int = 512) -> Sketches:
    return Sketches(60.0, lambda: 0.0, max_keys)


def full() -> Sketches:
    made = sketches()
    made.of("retrieval", "lexical", 1).add(0.1)
    made.of("generation").add_censored(0.5)
    return made


def nearby(made: Sketches, band: int) -> list[Sketch]:
    return list(made.nearby("retrieval", band=band))


def test_a_hop_is_expected_by_calls_under_the_same_load_over_those_of_the_nearest() -> None:
    made = sketches()
    for band in (0, 2, 5):
        made.of("retrieval", band=band).add(0.1 * (1 + band))
    assert nearby(made, 2) == [made.of("retrieval", band=0), made.of("retrieval", band=2)]


def test_a_load_never_seen_is_expected_by_the_nearest_and_higher_one() -> None:
    made = sketches()
    for band in (0, 2, 5):
        made.of("retrieval", band=band).add(0.1)
    made.of("retrieval", band=1)  # made, but nothing counted
    assert nearby(made, 1) == [made.of("retrieval", band=2)]
    assert nearby(made, 9) == [made.of("retrieval", band=5)]


def test_a_hop_or_rung_never_called_is_not_known() -> None:
    made = full()
    assert not list(made.nearby("retrieval", "full", 1))
    assert not list(made.nearby("cache"))


def test_the_least_used_sketch_makes_room() -> None:
    made = sketches(max_keys=2)
    for _ in range(3):
        made.of("busy").add(0.1)
    made.of("idle").add(0.1)
    made.of("new").add(0.1)
    assert len(made) == 2
    assert list(made.nearby("busy"))
    assert not list(made.nearby("idle"))


def test_sketches_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "sketches"
    full().save(path)
    restarted = sketches()
    loaded = restarted.load(path)
    assert (loaded.sketches_count, loaded.problem, len(restarted)) == (2, "", 2)
    assert restarted.of("retrieval", "lexical", 1).count == 1
    assert restarted.of("generation").censored_count == 1
    assert [each.name for each in path.parent.iterdir()] == ["sketches"]


def test_a_first_start_has_nothing_to_report(tmp_path: Path) -> None:
    loaded = sketches().load(tmp_path / "none")
    assert (loaded.sketches_count, loaded.problem, loaded.set_aside) == (0, "", None)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign", "short"])
def test_a_damaged_file_is_set_aside_and_reported(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "sketches"
    whole = full().to_bytes()
    damaged = {
        "cut": whole[:-100],
        "flipped": whole[:50] + bytes([whole[50] ^ 1]) + whole[51:],
        "empty": b"",
        "foreign": b"{}",
        # Whole by its checksum, but it promises a sketch and has none.
        "short": (short := b"HSKS1" + bytes([1, 0, 0, 0]))
        + zlib.crc32(short).to_bytes(4, "little"),
    }[damage]
    path.write_bytes(damaged)
    started = sketches()
    loaded = started.load(path)
    assert "damaged" in loaded.problem
    assert loaded.set_aside == tmp_path / "sketches.damaged"
    assert loaded.set_aside.read_bytes() == damaged
    assert not path.exists()
    assert len(started) == 0
    started.save(path)
    assert started.load(path).problem == ""


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    loaded = sketches().load(tmp_path)
    assert "cannot be read" in loaded.problem
    assert loaded.set_aside is None
