import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.simulate.running import Case, curve, simulate
from cli.simulate.scenario import ScenarioError, load, names
from cli.simulating import Order, cases_of, draw


def test_without_a_name_all_that_come_along_are_tried() -> None:
    cases = cases_of(Order(ways=("hasten",)))
    assert [case.scenario.name for case in cases] == names()


def test_a_way_that_does_not_exist_is_named() -> None:
    with pytest.raises(ScenarioError, match="nonsense"):
        cases_of(Order(ways=("nonsense",)))


def test_the_command_prints_json_and_nothing_else() -> None:
    told = ["simulate", "steady", "--seeds", "1", "--requests", "200", "--way", "hasten", "--json"]
    result = CliRunner().invoke(app, told)
    assert result.exit_code == 0
    (found,) = json.loads(result.stdout)["results"]
    assert found["scenario"] == "steady"
    assert found["figures"]["miss"]["margin"] is None


def test_pictures_are_drawn_and_stay_the_same(tmp_path: Path) -> None:
    scenario = load("cold_start")
    results = simulate([Case(scenario), Case(scenario, "no split")], [1], workers=1)
    files = draw(results, tmp_path, is_curve=False)
    assert [file.name for file in files] == ["cold_start.svg", "calibration.svg"]
    before = [file.read_bytes() for file in files]
    draw(results, tmp_path, is_curve=False)
    assert [file.read_bytes() for file in files] == before
    points = simulate(curve(scenario)[:2], [1], workers=1)
    assert draw(points, tmp_path, is_curve=True)[0].name == "curve.svg"
