"""Pairs of questions with a label, and how well a rule of reuse does on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COSINES = (0.85, 0.92, 0.95)
_STEPS = 50


class PairsError(Exception):
    """A file of pairs is not of the form that is asked for."""


class NotStoredError(Exception):
    """The cache did not keep, or does not find, what it is to be judged by."""


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two questions, whether one answer serves both, and what makes them alike or not."""

    a: str
    b: str
    same: bool
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a pair: `a` was stored, `b` was looked up.

    Attributes:
        pair: the pair.
        hit: whether the answer to `a` was served for `b`.
        reason: why, or why not.
        cosine: of both vectors, in [-1, 1].
        probability: that one answer serves both, in [0, 1]; None if none was made.
    """

    pair: LabelledPair
    hit: bool
    reason: str
    cosine: float
    probability: float | None


@dataclass(frozen=True, slots=True)
class Rates:
    """How a rule does on some pairs; a rate of nothing is None.

    Attributes:
        recall: share of the pairs that are the same which are reused.
        false_reuse: share of the pairs that are not the same which are reused.
        precision: share of the reused pairs that are the same.
    """

    recall: float | None
    false_reuse: float | None
    precision: float | None


def read_pairs(path: Path) -> list[LabelledPair]:
    """Read a file of lines `{"a", "b", "same"}`, with `kind` or `category` if it is known.

    Raises:
        OSError: the file cannot be read.
        PairsError: a line is not of that form.
    """
    lines = path.read_text("utf-8").splitlines()
    pairs = [_pair(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not pairs:
        raise PairsError(f"{path} holds no pair")
    return pairs


def rates(outcomes: Sequence[Outcome], is_reused: Callable[[Outcome], bool]) -> Rates:
    """Return how a rule does."""
    same = [is_reused(each) for each in outcomes if each.pair.same]
    other = [is_reused(each) for each in outcomes if not each.pair.same]
    reused = sum(same) + sum(other)
    recall, false_reuse = _share(sum(same), len(same)), _share(sum(other), len(other))
    return Rates(recall, false_reuse, _share(sum(same), reused))


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the figures of some pairs: of the decision, and of plain cosines beside it."""
    reasons: dict[str, int] = {}
    for each in outcomes:
        reasons[each.reason] = reasons.get(each.reason, 0) + 1
    return {
        "pairs": len(outcomes),
        "same": sum(each.pair.same for each in outcomes),
        **_plain(rates(outcomes, lambda each: each.hit)),
        "cosine": {str(floor): _plain(rates(outcomes, at_cosine(floor))) for floor in COSINES},
        "reasons": reasons,
    }


def curves(outcomes: Sequence[Outcome]) -> dict[str, list[dict[str, float | None]]]:
    """Return the rates at each target of probability, and at each floor of cosine."""
    levels = [step / _STEPS for step in range(_STEPS + 1)]
    return {
        "probability": [{"at": at, **_plain(rates(outcomes, at_target(at)))} for at in levels],
        "cosine": [{"at": at, **_plain(rates(outcomes, at_cosine(at)))} for at in levels],
    }


def by_kind(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Return the figures of each kind of pair."""
    kinds = sorted({each.pair.kind for each in outcomes if each.pair.kind})
    return {kind: summary([each for each in outcomes if each.pair.kind == kind]) for kind in kinds}


def at_cosine(floor: float) -> Callable[[Outcome], bool]:
    """Return the rule that reuses from a cosine on."""
    return lambda outcome: outcome.cosine >= floor


def at_target(target: float) -> Callable[[Outcome], bool]:
    """Return the rule that reuses from a probability on; where none was made it does not."""
    return lambda outcome: outcome.probability is not None and outcome.probability >= target


def _pair(path: Path, number: int, line: str) -> LabelledPair:
    try:
        row = json.loads(line)
        a, b, same = row["a"], row["b"], row["same"]
    except (ValueError, KeyError, TypeError) as error:
        raise PairsError(f'{path}:{number}: not a line {{"a", "b", "same"}}: {error!r}') from error
    if not (isinstance(a, str) and isinstance(b, str) and isinstance(same, bool) and a and b):
        raise PairsError(f"{path}:{number}: a and b must be texts, same true or false")
    return LabelledPair(a, b, same, str(row.get("kind") or row.get("category") or ""))


def _plain(found: Rates) -> Mapping[str, float | None]:
    return {
        "recall": found.recall,
        "false_reuse": found.false_reuse,
        "precision": found.precision,
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def least_target(outcomes: Sequence[Outcome], most_false: float) -> float | None:
    """Return the least target that reuses no more than a share of what is not the same.

    Args:
        outcomes: of pairs that look like the traffic.
        most_false: the share, in [0, 1].

    Returns:
        A probability, or None if even certainty reuses more.
    """
    for step in range(2 * _STEPS + 1):
        target = step / (2 * _STEPS)
        false_reuse = rates(outcomes, at_target(target)).false_reuse
        if false_reuse is None or false_reuse <= most_false:
            return target
    return None
