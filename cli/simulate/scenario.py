"""Scenarios: what the simulated mesh is like, read from YAML and checked."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "scenarios"


class ScenarioError(Exception):
    """A scenario says something that cannot be; the message names the field."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One step before the text, with lognormal latency and stragglers.

    Attributes:
        hop: its name.
        median_ms: median latency.
        sigma: standard deviation of the latency's logarithm.
        skip_loss: of doing without it, in late answers; None if it must be done.
        cut_loss: of going on with what it has by then; None if it must end.
        replicas: backends that share its calls.
    """

    hop: str
    median_ms: float
    sigma: float
    skip_loss: float | None = None
    cut_loss: float | None = None
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Text:
    """The hop that writes.

    Attributes:
        hop: its name.
        median_ms: median time of the best model to its first text.
        sigma: standard deviation of its logarithm.
        fast_factor: how long the fast tier takes, of the best; 0 if there is none.
        stand_in_ms: what a text without a model takes; 0 if there is none.
        slots: calls that the backend works on at once; 0 is without limit.
    """

    hop: str
    median_ms: float
    sigma: float
    fast_factor: float = 0.0
    stand_in_ms: float = 0.0
    slots: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """A time in which a hop is otherwise.

    Attributes:
        hop: which.
        since: share of the requests after which it begins, in [0, 1).
        until: share after which it ends, in (0, 1].
        factor: how much longer the hop takes.
        replica: which backend alone; -1 is all of them.
        hangs: True if calls do not end at all.
    """

    hop: str
    since: float = 0.0
    until: float = 1.0
    factor: float = 1.0
    replica: int = -1
    hangs: bool = False


Part = Hop | Text
"""A hop of either kind."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A mesh, its callers, and what happens to it.

    Attributes:
        name: of the scenario.
        about: one sentence.
        text: the hop that writes.
        hops: the steps before it, in order.
        changes: what happens.
        requests: how many are made.
        rate_per_s: how many come in a second, at random (Poisson).
        first_text_ms: when each one's first text is due.
        shortest_ms: if above 0, due times are drawn evenly between this and `first_text_ms`.
        straggler_share: share of calls that are slow for no reason.
        straggler_factor: how much slower.
        expected_factor: what the hops are expected to take at first, of what they take.
        half_life_s: in which what was learned fades by half.
        window: share of the requests, from and to, that the figures are of.
    """

    name: str
    about: str
    text: Text
    hops: tuple[Hop, ...] = ()
    changes: tuple[Change, ...] = ()
    requests: int = 10_000
    rate_per_s: float = 50.0
    first_text_ms: float = 600.0
    shortest_ms: float = 0.0
    straggler_share: float = 0.02
    straggler_factor: float = 8.0
    expected_factor: float = 1.0
    half_life_s: float = 120.0
    window: tuple[float, float] = (0.0, 1.0)

    @property
    def parts(self) -> tuple[Part, ...]:
        """All hops in order, the one that writes at the end."""
        return (*self.hops, self.text)


def names() -> list[str]:
    """Return the scenarios that come along."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Scenario:
    """Read a scenario: one that comes along by its name, any other by its file.

    Raises:
        ScenarioError: there is none, or it says something that cannot be.
    """
    path = FOLDER / f"{name}.yaml" if name in names() else Path(name)
    try:
        table = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        known = ", ".join(names())
        raise ScenarioError(f"scenario {name!r}: neither one of {known} nor a file") from error
    except yaml.YAMLError as error:
        raise ScenarioError(f"scenario {name!r}: no YAML: {error}") from error
    scenario: Scenario = _made(Scenario, {"name": path.stem, **_table(table, "scenario")}, "")
    _check(scenario)
    return scenario


_WORDS = ("name", "about", "hop")
_PARTS: dict[str, Any] = {"hops": Hop, "changes": Change}


def _made(kind: Any, table: dict[str, Any], prefix: str) -> Any:
    known = {each.name: each for each in fields(kind)}
    for key in table:
        if key not in known:
            raise ScenarioError(f"{prefix}{key}: unknown")
    for name, each in known.items():
        if each.default is MISSING and name not in table:
            raise ScenarioError(f"{prefix}{name}: is required")
    return kind(**{key: _value(key, value, prefix) for key, value in table.items()})


def _value(key: str, value: Any, prefix: str) -> Any:
    if key in _PARTS:
        return tuple(
            _made(_PARTS[key], _table(each, f"{key}[{number}]"), f"{key}[{number}].")
            for number, each in enumerate(_list(key, value))
        )
    if key == "text":
        return _made(Text, _table(value, "text"), "text.")
    if key == "window":
        return tuple(_list(key, value))
    if key in _WORDS and not isinstance(value, str):
        raise ScenarioError(f"{prefix}{key}: {value!r} is no text")
    if key not in _WORDS and not isinstance(value, (int, float)):
        raise ScenarioError(f"{prefix}{key}: {value!r} is no number")
    return value


def _list(key: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ScenarioError(f"{key}: must be a list")
    return value


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ScenarioError(f"{name}: must be a table")
    return value


def _check(scenario: Scenario) -> None:
    hops = {hop.hop for hop in scenario.parts}
    for number, change in enumerate(scenario.changes):
        if change.hop not in hops:
            raise ScenarioError(f"changes[{number}].hop: {change.hop!r} is no hop")
        if not 0 <= change.since < change.until <= 1:
            raise ScenarioError(f"changes[{number}].since: must be below until, both in [0, 1]")
    for name in ("requests", "rate_per_s", "first_text_ms", "half_life_s", "expected_factor"):
        if getattr(scenario, name) <= 0:
            raise ScenarioError(f"{name}: must be above 0, is {getattr(scenario, name)}")
    for hop in scenario.parts:
        if hop.median_ms <= 0 or hop.sigma < 0:
            raise ScenarioError(f"{hop.hop}: median_ms must be above 0 and sigma not negative")
    if not 0 <= scenario.straggler_share <= 1:
        raise ScenarioError("straggler_share: must be in [0, 1]")
    if not _is_window(scenario.window):
        raise ScenarioError("window: must be two rising shares in [0, 1]")


def _is_window(window: tuple[Any, ...]) -> bool:
    if len(window) != len(("from", "to")) or not all(isinstance(x, (int, float)) for x in window):
        return False
    return bool(0 <= window[0] < window[1] <= 1)
