"""Which pairs, and how many of each: what the adapter and the final fit are fed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.calibrate.pairs import (
    Matrix,
    Pair,
    Sources,
    dressed,
    made,
    neighbours,
    read_assistant,
    read_banking,
    short,
)
from cli.calibrate.written import GROUPS, rewordings

Embed = Callable[[Sequence[str]], Matrix]

_SEED, _FIT_SEED = 11, 99
_LONGEST_WORDS: Final = 22


@dataclass(frozen=True, slots=True)
class Counts:
    """How many pairs of a round are made from which texts.

    Attributes:
        asked: from search questions and questions about passages.
        banking: from customers' questions.
        assistant: from requests to an assistant.
        told: from sentences.
        short: from short questions in which roles and order are all there is.
        near: near neighbours of different intents, of each kind, at most.
        twice: how often the few questions that people asked in two ways are shown.
        longest: words of the longest sentence.
        written: how often each hand-written rewording is shown.
    """

    asked: int
    banking: int
    assistant: int
    told: int
    short: int
    near: int
    twice: int
    longest: int
    written: int = 0


# The first round is broad; the second goes once more over what the first gets wrong: who does
# what to whom, and rewordings that share few words; the third adds some of these that were
# written by hand.
ROUNDS: Final = (
    Counts(12_000, 9_000, 6_000, 7_000, 5_000, 2_500, 3, 32),
    Counts(3_000, 3_000, 800, 1_300, 3_600, 400, 5, 18),
    Counts(1_300, 1_300, 300, 0, 1_000, 350, 3, 18, written=3),
)


def for_adapter(sources: Sources, embed: Embed, counts: Counts, number: int) -> list[Pair]:
    """Return the pairs of one round of training, in an order of chance."""
    chance = random.Random(_SEED + number)
    near = _near_asked(sources, embed)
    asked = [text for text, _ in sources.asked]
    banking = [text for text, _ in sources.banking if len(text.split()) <= _LONGEST_WORDS]
    assistant = [text for text, _ in sources.assistant]
    told = [text for text in sources.sentences if len(text.split()) <= counts.longest]
    reading = [(text, text) for text in sources.reading]
    pairs = [
        *made([*asked, *asked, *sources.reading], counts.asked, chance),
        *made(banking, counts.banking, chance),
        *made(assistant, counts.assistant, chance),
        *made(told, counts.told, chance, told=True),
        *made(short(sources, 3_000, chance), counts.short, chance),
        *near,
        *(pair for pair in near if pair.same for _ in range(counts.twice - 1)),
        *_near(sources.banking, embed, "near_banking", 0.6, chance)[: counts.near],
        *_near(sources.assistant, embed, "near_assistant", 0.5, chance)[: counts.near],
        *_near(reading, embed, "near_reading", 0.6, chance)[: counts.near],
    ]
    if counts.written:
        pairs += _written(chance, counts.written)
    return _dressed(pairs, chance)


def for_fit(folder: Path, sources: Sources, embed: Embed) -> list[Pair]:
    """Return the pairs that the probability is fitted on: other texts, or other edits."""
    chance = random.Random(_FIT_SEED)
    banking = read_banking(folder, "test")
    texts = [text for text, _ in banking if len(text.split()) <= _LONGEST_WORDS]
    asked = [text for text, _ in sources.asked]
    pairs = [
        *made([*asked, *sources.reading], 2_500, chance),
        *made(texts, 1_800, chance),
        *made([text for text, _ in read_assistant(folder, "val")], 1_000, chance),
        *made(list(sources.sentences), 900, chance, told=True),
        *made(short(sources, 2_000, chance), 800, chance),
        *_near(banking, embed, "near_banking", 0.6, chance)[:700],
        *_near_asked(sources, embed),
    ]
    return _dressed(pairs, chance)


def _written(chance: random.Random, times: int) -> list[Pair]:
    """Return the rewordings that were written, and others made of them by rule, same or not."""
    pairs = rewordings()
    texts = [text for group in GROUPS for text in group]
    made_up = [pair for pair in made(texts, 2 * len(texts), chance) if not pair.same]
    return [*(Pair(a, b, True, "written") for a, b in pairs for _ in range(times)), *made_up]


def _near_asked(sources: Sources, embed: Embed) -> list[Pair]:
    vectors = embed([text for text, _ in sources.asked])
    return neighbours(list(sources.asked), vectors, "near_asked", least=0.62, most_same=0.72)


def _near(
    texts: Sequence[tuple[str, str]], embed: Embed, kind: str, least: float, chance: random.Random
) -> list[Pair]:
    """Return near pairs of different intents; two of one intent may or may not be the same."""
    some = chance.sample(texts, min(len(texts), 5_000))
    rows = [(text, frozenset((intent,))) for text, intent in some]
    vectors = embed([text for text, _ in rows])
    found = neighbours(rows, vectors, kind, least=least, most_same=2.0)
    return [pair for pair in found if not pair.same]


def _dressed(pairs: list[Pair], chance: random.Random) -> list[Pair]:
    found = [Pair(dressed(p.a, chance), dressed(p.b, chance), p.same, p.kind) for p in pairs]
    chance.shuffle(found)
    return found
