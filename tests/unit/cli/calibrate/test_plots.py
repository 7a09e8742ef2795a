from __future__ import annotations

from pathlib import Path

from cli.calibrate.plots import draw
from cli.pairing import LabelledPair, Outcome


def test_each_set_has_a_panel_and_the_same_figures_make_the_same_file(tmp_path: Path) -> None:
    pairs = [LabelledPair("a", "b", same=same) for same in (True, False)]
    sets = {name: [Outcome(each, each.same, "", 0.9, 0.5) for each in pairs] for name in "xyzw"}
    for file in ("one.svg", "two.svg"):
        draw(sets, tmp_path / file)
    drawn = (tmp_path / "one.svg").read_text()
    assert drawn == (tmp_path / "two.svg").read_text()
    assert all(f"{name} (2 pairs)" in drawn for name in sets)
