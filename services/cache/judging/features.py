"""Two questions as a row of numbers, of which a probability is made.

Cheap on purpose: a row takes some tens of microseconds.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.cache.judging.facts import (
    Facts,
    denied,
    facts_of,
    genders,
    of_one_class,
    opposed,
    roles_turned,
    stem,
    times,
    undressed,
)

NAMES: Final = (
    "cosine", "cosine_high", "shared", "only_one", "only_both", "numbers", "numbers_one", "negation", "opposed", "class",
    "names", "asking", "owners", "fresh", "times", "order", "length", "joint", "action", "persons", "roles", "denied", "numbered",
)  # fmt: skip

_TURNED: Final = [NAMES.index(name) for name in ("persons", "roles", "denied", "numbered")]
# Above it a cosine says more than below.
_HIGH = 0.9
_LONG = 16


def features(a: str, b: str, cosine: float) -> NDArray[np.float64]:
    """Return the row of two questions, the same whichever comes first.

    Args:
        a: the one question.
        b: the other.
        cosine: of their vectors, in [-1, 1].
    """
    one, other = facts_of(a), facts_of(b)
    only_a, only_b = _apart(one, other)
    few, many = sorted((len(one.content - other.content), len(other.content - one.content)))
    turned = roles_turned(one, other)
    union = len(one.content | other.content) or 1
    return np.array(
        (
            cosine,
            max(0.0, cosine - _HIGH) / (1 - _HIGH),
            len(one.content & other.content) / union,
            math.log1p(many),
            math.log1p(few),
            bool(one.numbers and other.numbers and one.numbers != other.numbers),
            bool(one.numbers) != bool(other.numbers),
            abs(one.negations - other.negations) % 2,
            opposed(only_a, only_b),
            of_one_class(only_a, only_b),
            one.names != other.names,
            bool(one.asking) and bool(other.asking) and one.asking != other.asking,
            one.owners != other.owners,
            one.fresh != other.fresh,
            bool(times(one) ^ times(other)),
            0.0 if turned is False else _disorder(one, other),
            min(abs(len(one.words) - len(other.words)), _LONG) / _LONG,
            _joint(one) != _joint(other),
            bool(one.asking) != bool(other.asking),
            bool(genders(one)) and bool(genders(other)) and genders(one) != genders(other),
            turned is True,
            one.negations == other.negations and denied(only_a, only_b),
            bool(one.numbers - other.numbers and other.numbers - one.numbers),
        ),
        np.float64,
    )


def is_turned(row: NDArray[np.float64]) -> bool:
    """Return whether a hard fact makes it another question, whatever else is alike.

    Persons or roles that changed places, a word that is denied, a number or identifier that
    stands against another.
    """
    return bool(row[_TURNED].any())


def is_reformatted(a: str, b: str) -> bool:
    """Return whether two texts are one but for case, marks, contractions and polite words."""
    words, others = facts_of(a).words, facts_of(b).words
    return words == others or undressed(words) == undressed(others)


def _apart(one: Facts, other: Facts) -> tuple[frozenset[str], frozenset[str]]:
    words, others = frozenset(one.words), frozenset(other.words)
    return words - others, others - words


def _disorder(one: Facts, other: Facts) -> float:
    """Return the share of shared words' neighbours that are not the other's, in [0, 1]."""
    shared = one.content & other.content
    first = [word for word in map(stem, one.words) if word in shared]
    second = [word for word in map(stem, other.words) if word in shared]
    steps = set(pairwise(first))
    if not steps:
        return 0.0
    return len(steps - set(pairwise(second))) / len(steps)


def _joint(facts: Facts) -> tuple[bool, bool]:
    return "and" in facts.words, "or" in facts.words
