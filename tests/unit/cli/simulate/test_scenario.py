from pathlib import Path

import pytest

from cli.simulate.scenario import ScenarioError, load

GOOD = """
about: A test.
hops: [{hop: search, median_ms: 10, sigma: 0.3}]
text: {hop: model, median_ms: 100, sigma: 0.3}
changes: [{hop: search, since: 0.5, factor: 2}]
"""


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_a_file_of_ones_own_can_be_read(tmp_path: Path) -> None:
    scenario = load(written(tmp_path, GOOD))
    assert (scenario.name, scenario.hops[0].hop, scenario.changes[0].until) == ("mine", "search", 1)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("about: A test.", "", "about: is required"),
        ("about: A test.", "about: 7", "about"),
        ("about: A test.", "about: A test.\nspeed: 7", "speed: unknown"),
        ("about: A test.", "about: A test.\nrate_per_s: 0", "rate_per_s"),
        ("about: A test.", "about: A test.\nrate_per_s: fast", "rate_per_s"),
        ("about: A test.", "about: A test.\nstraggler_share: 2", "straggler_share"),
        ("about: A test.", "about: A test.\nwindow: [0.5, 0.2]", "window"),
        ("about: A test.", "about: A test.\nwindow: 0.5", "window"),
        ("median_ms: 10", "median_ms: -1", "search: median_ms"),
        ("median_ms: 10", "median: 10", "hops[0].median: unknown"),
        ("median_ms: 100", "median_ms: slow", "text.median_ms"),
        ("hop: search, since", "hop: nothing, since", "changes[0].hop"),
        ("since: 0.5", "since: 1.5", "changes[0].since"),
        ("text: {", "text: 7 # {", "text: must be a table"),
        ("hops: [{", "hops: 7 # [{", "hops: must be a list"),
    ],
)
def test_what_cannot_be_is_named_by_its_field(
    tmp_path: Path, old: str, new: str, field: str
) -> None:
    with pytest.raises(ScenarioError) as failure:
        load(written(tmp_path, GOOD.replace(old, new)))
    assert field in str(failure.value)


def test_a_scenario_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ScenarioError, match="stragglers"):
        load("nowhere")


def test_what_is_no_yaml_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no YAML"):
        load(written(tmp_path, "a: [1"))
