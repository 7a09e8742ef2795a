"""What recorded answers would have been like, if something had been otherwise."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cli.simulate.running import Case
from cli.simulate.scenario import Hop, Part, Scenario, ScenarioError, Text
from cli.simulate.terms import Terms
from cli.simulate.world import Floats
from libs.resilience.distribution import Distribution
from libs.resilience.grid import EDGES
from libs.resilience.sketch import Sketch
from libs.values import Account, HopAccount

TODAY, WHAT_IF = "today", "what if"
SHARE = "share"
_TEXT = "generation"
# What is gone on without, when it is cut: the passages found by words alone, or none.
_CUT_LOSS = {"embedding": 0.015, "retrieval": 0.015}
_WHOLE = ("ok", "hit", "miss")
_CUT = ("TIMED_OUT", "NOT_RERANKED", "cancelled", "lost")
_CHANGE = re.compile(r"([+-]\d+(?:\.\d+)?)ms")
_ONE_DEVIATION = 0.841
# One more than this many answers are enough to speak of a hop.
_LEAST_ANSWERS = 20


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be otherwise.

    Attributes:
        shift_s: seconds by which calls of a hop take longer; negative is shorter.
        share: second calls to the fast tier per request, at most; None leaves it.
    """

    shift_s: dict[str, float] = field(default_factory=dict)
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """Draws latencies as they were recorded.

    Attributes:
        below: of each hop, the probability of not more than each edge of the grid.
        shift_s: seconds that are added to each draw.
    """

    below: dict[str, tuple[float, ...]]
    shift_s: dict[str, float] = field(default_factory=dict)

    def __call__(self, hop: Part, random: np.random.Generator, shape: tuple[int, int]) -> Floats:
        """Draw latencies of a hop, in seconds; what was never seen to end does not."""
        below, chance = self.below[hop.hop], random.random(shape)
        takes_s = np.interp(chance, below, EDGES) + self.shift_s.get(hop.hop, 0.0)
        return np.where(chance > below[-1], math.inf, np.maximum(takes_s, 0.0))


def changes_of(told: Sequence[str]) -> Changes:
    """Read changes such as `retrieval=-20ms` and `share=0.1`.

    Raises:
        ScenarioError: one of them is none.
    """
    shift_s, share = {}, None
    for each in told:
        name, _, value = each.partition("=")
        if name == SHARE:
            share = _share(value)
        elif match := _CHANGE.fullmatch(value):
            shift_s[name] = float(match[1]) / 1e3
        else:
            raise ScenarioError(f"--what-if {each!r}: write hop=-20ms, hop=+20ms or share=0.1")
    return Changes(shift_s, share)


def replayed(
    accounts: Sequence[Account], budget_s: float, changes: Changes, requests: int
) -> list[Case]:
    """Return the cases of today and of what if.

    Calls that were cut count as such. A hop that answers did not wait for is left out, and
    those that went side by side are taken one after the other.

    Args:
        accounts: of answers; those for which nothing was written say nothing here.
        budget_s: seconds in which the first text is due.
        changes: what is to be otherwise.
        requests: how many are simulated.

    Raises:
        ScenarioError: too few answers were recorded, or a change is of what was not.
    """
    written = [each for each in accounts if any(hop.hop == _TEXT for hop in each.hops)]
    if len(written) < _LEAST_ANSWERS:
        raise ScenarioError(f"{len(written)} written answers are recorded; {_LEAST_ANSWERS} needed")
    latencies, fast = _latencies(written)
    scenario = _scenario(latencies, _order(written), fast, budget_s, requests)
    _check(changes, scenario)
    below = {hop: tuple(np.cumsum(each.masses[:-1])) for hop, each in latencies.items()}
    other = Terms() if changes.share is None else replace(Terms(), share=changes.share)
    return [
        Case(scenario, label=TODAY, draws=Recorded(below)),
        Case(scenario, terms=other, label=WHAT_IF, draws=Recorded(below, changes.shift_s)),
    ]


def recorded_s(accounts: Sequence[Account]) -> list[float]:
    """Return the seconds to the first text of answers that were written, rising."""
    return sorted(
        each.first_text_s
        for each in accounts
        if each.first_text_s is not None and any(hop.hop == _TEXT for hop in each.hops)
    )


def _latencies(accounts: Sequence[Account]) -> tuple[dict[str, Distribution], float]:
    """Return what hops take, and what the second writer takes of the first one's time."""
    waited = {piece.hop for account in accounts for piece in account.pieces}
    sketches: dict[str, Sketch] = {}
    first_s: list[float] = []
    second_s: list[float] = []
    for account in accounts:
        seen: set[str] = set()
        for hop in sorted(account.hops, key=lambda each: each.start_s):
            took = None if hop.hop not in waited else _took(hop, account)
            if took is None:
                continue
            if hop.hop == _TEXT and not took[1]:
                (second_s if _TEXT in seen else first_s).append(took[0])
            if hop.hop not in seen:
                _add(sketches, hop.hop, took)
            seen.add(hop.hop)
    factor = statistics.median(second_s) / statistics.median(first_s) if second_s and first_s else 0
    return {name: each.distribution() for name, each in sketches.items()}, factor


def _took(hop: HopAccount, account: Account) -> tuple[float, bool] | None:
    """Return seconds, and whether it was cut then; None where nothing can be learned."""
    if hop.skipped:
        return None
    if hop.outcome.startswith(_WHOLE):
        if hop.hop != _TEXT:
            return hop.used_s, False
        if account.first_text_s is not None:
            return max(0.0, account.first_text_s - hop.start_s), False
    return (hop.used_s, True) if hop.outcome in _CUT else None


def _add(sketches: dict[str, Sketch], name: str, took: tuple[float, bool]) -> None:
    sketch = sketches.setdefault(name, Sketch(None, lambda: 0.0))
    if took[1]:
        sketch.add_censored(took[0])
    else:
        sketch.add(took[0])


def _order(accounts: Sequence[Account]) -> list[str]:
    """Return hops by when they usually begin."""
    starts: dict[str, list[float]] = {}
    for account in accounts:
        for hop in account.hops:
            starts.setdefault(hop.hop, []).append(hop.start_s)
    return sorted(starts, key=lambda name: statistics.median(starts[name]))


def _scenario(
    latencies: dict[str, Distribution],
    order: Sequence[str],
    fast: float,
    budget_s: float,
    requests: int,
) -> Scenario:
    shapes = {name: _shape(each) for name, each in latencies.items()}
    hops = tuple(
        Hop(name, *shapes[name], cut_loss=_CUT_LOSS.get(name))
        for name in order
        if name in shapes and name != _TEXT
    )
    if _TEXT not in shapes:
        raise ScenarioError("no answer says how long its text took")
    text = Text(_TEXT, *shapes[_TEXT], fast_factor=fast)
    about = "As recorded."
    return Scenario("replay", about, text, hops, requests=requests, first_text_ms=budget_s * 1e3)


def _shape(latency: Distribution) -> tuple[float, float]:
    """Return median in milliseconds, and the logarithm of one deviation above it."""
    median_s = max(latency.quantile(0.5), 1e-4)
    above_s = min(latency.quantile(_ONE_DEVIATION), EDGES[-1])
    return min(median_s, EDGES[-1]) * 1e3, max(0.0, math.log(max(above_s / median_s, 1.0)))


def _check(changes: Changes, scenario: Scenario) -> None:
    known = [hop.hop for hop in scenario.parts]
    for name in changes.shift_s:
        if name not in known:
            raise ScenarioError(f"--what-if {name}: answers waited for {', '.join(known)} only")
    if changes.share is not None and not scenario.text.fast_factor:
        raise ScenarioError("--what-if share: no second call for a text is recorded")


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ScenarioError(f"--what-if share: {text!r} is not in [0, 1]")
    return share
