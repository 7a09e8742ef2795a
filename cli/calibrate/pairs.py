"""Labelled pairs, made from real questions and sentences by a seeded chance.

Nothing of CheckList, PAWS or the banking traps is read here: what is fitted on these pairs
is new to all three.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cli.calibrate.edits import EDITS
from cli.calibrate.rewordings import REWORDINGS
from services.cache.judging import lexicon

# Every fifth question of nq_open is kept out of all fitting, to be asked afterwards.
HELD_OUT_EVERY: Final = 5

# How much likelier an edit or rewording is in a sentence than in a question.
_TOLD: Final = {
    "polite": 0.0, "preamble": 0.0, "frame": 0.0, "telegraphic": 0.1, "filler": 0.3, "typo": 0.3, "scope": 0.1, "freshness": 0.1,
    "principal": 0.2, "denial": 0.1, "action": 0.0, "aspect": 0.0, "tense": 0.3, "narrowing": 0.5, "negation": 0.4, "swap": 2.5,
    "swap_runs": 2.5, "swap_around": 2.0, "moved": 2.0, "conjuncts": 1.2, "possessive": 2.0, "number": 0.7, "passive": 3.0,
}  # fmt: skip
# Share of tries at an edit; rewordings find their form less often.
_EDITED: Final = 0.4

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts, and whether one answer serves both.

    Attributes:
        a: the first text.
        b: the second.
        same: whether one answer serves both.
        kind: what made the one out of the other.
    """

    a: str
    b: str
    same: bool
    kind: str


@dataclass(frozen=True, slots=True)
class Sources:
    """Real texts, in lower case, without a closing mark.

    Attributes:
        asked: search questions and their answers.
        banking: customers' questions and their intents.
        assistant: requests to an assistant and their intents.
        reading: questions about passages.
        sentences: of those passages.
    """

    asked: tuple[tuple[str, frozenset[str]], ...]
    banking: tuple[tuple[str, str], ...]
    assistant: tuple[tuple[str, str], ...]
    reading: tuple[str, ...]
    sentences: tuple[str, ...]

    def questions(self) -> list[str]:
        """Return every question once, in a fixed order."""
        return [
            *(text for text, _ in self.asked),
            *(text for text, _ in self.banking),
            *(text for text, _ in self.assistant),
            *self.reading,
        ]


def read_sources(folder: Path) -> Sources:
    """Read the texts that pairs are made from.

    Raises:
        OSError: one of the sets is not there.
    """
    squad = json.loads((folder / "xquad_en/xquad.en.json").read_text("utf-8"))
    passages = [each for article in squad["data"] for each in article["paragraphs"]]
    return Sources(
        tuple(each for index, each in enumerate(read_asked(folder)) if index % HELD_OUT_EVERY),
        tuple(read_banking(folder, "train")),
        tuple(read_assistant(folder, "train")),
        tuple(plain(each["question"]) for passage in passages for each in passage["qas"]),
        tuple(_sentences(passages)),
    )


def read_asked(folder: Path) -> list[tuple[str, frozenset[str]]]:
    """Return every search question, with its answers."""
    rows = map(json.loads, (folder / "nq_open/dev.jsonl").read_text("utf-8").splitlines())
    return [(plain(row["question"]), frozenset(map(str.lower, row["answer"]))) for row in rows]


def read_banking(folder: Path, part: str) -> list[tuple[str, str]]:
    """Return the customers' questions of one part, with their intents."""
    with (folder / f"banking77/{part}.csv").open(encoding="utf-8") as file:
        return [(plain(row["text"]), row["category"]) for row in csv.DictReader(file)]


def read_assistant(folder: Path, part: str) -> list[tuple[str, str]]:
    """Return the requests to an assistant of one part, with their intents."""
    clinc = json.loads((folder / "clinc150/data_full.json").read_text("utf-8"))
    return [(plain(text), intent) for text, intent in clinc[part]]


def held_out(folder: Path) -> list[tuple[str, frozenset[str]]]:
    """Return the search questions that no fit has seen."""
    return [each for index, each in enumerate(read_asked(folder)) if not index % HELD_OUT_EVERY]


def plain(text: str) -> str:
    """Return a text in lower case, without closing marks and doubled blanks."""
    return " ".join(text.lower().split()).rstrip(" ?.!")


def made(
    texts: list[str], count: int, chance: random.Random, *, told: bool = False
) -> Iterator[Pair]:
    """Yield pairs made from texts, about as many that are the same as are not.

    Args:
        texts: what to make them from.
        count: how many.
        chance: whose seed decides.
        told: whether the texts are sentences, of which order is what matters.
    """
    likely = _TOLD if told else {}
    edits, rewords = list(EDITS), list(REWORDINGS)
    edit_weights = [EDITS[kind][1] * likely.get(kind, 1.0) for kind in edits]
    reword_weights = [REWORDINGS[kind][1] * likely.get(kind, 1.0) for kind in rewords]
    found = 0
    while found < count:
        cased = chance.choice(texts)
        text = cased.lower()
        # What differs is not always all that differs.
        base = text
        for _ in range(chance.choice((0, 0, 0, 1, 1, 2))):
            base = reworded(base, chance, chance.choices(rewords, reword_weights)[0]) or base
        if chance.random() < _EDITED:
            kind = chance.choices(edits, edit_weights)[0]
            start = cased if kind == "swap_runs" else base
            words = EDITS[kind][0](start.split(), chance)
            other = None if words is None else " ".join(words).lower()
        else:
            kind = chance.choices(rewords, reword_weights)[0]
            other = REWORDINGS[kind][0](base, chance)
        if other is None or other in {text, base}:
            continue
        found += 1
        one = text
        if kind == "preamble" and chance.random() < 0.6:
            # Two stories before one question.
            one = REWORDINGS[kind][0](text, chance) or text
        yield Pair(one, other, kind in REWORDINGS, kind)


def reworded(text: str, chance: random.Random, kind: str) -> str | None:
    """Return a text reworded in one way, or None if it cannot be."""
    return REWORDINGS[kind][0](text, chance)


def dressed(text: str, chance: random.Random) -> str:
    """Return a text with a closing mark and capitals, as some people write."""
    style = chance.random()
    if style < 0.4:
        return text
    mark = (
        "?"
        if re.match(r"(what|who|when|where|why|how|which|is|are|can|do|does|did|was)\b", text)
        else "."
    )
    if style < 0.6:
        return text + mark
    named = re.sub(r"\b(" + "|".join((*lexicon.FIRST_NAMES, *lexicon.LAST_NAMES)) + r")\b", lambda found: found.group().capitalize(), text)  # fmt: skip
    return named[:1].upper() + re.sub(r"\bi\b", "I", named[1:]) + mark


def _one(kinds: list[str], weights: list[float], chance: random.Random) -> tuple[str]:
    return (chance.choices(kinds, weights)[0],)


def _sentences(passages: list[dict[str, str]]) -> Iterator[str]:
    for passage in passages:
        for sentence in re.split(r"(?<=[a-z)])\. (?=[A-Z])", passage["context"]):
            if 6 <= len(sentence.split()) <= 32:
                yield " ".join(re.sub(r"([,;()])", r" \1 ", sentence).split()).rstrip(" .")


def short(sources: Sources, count: int, chance: random.Random) -> list[str]:
    """Return short questions in which roles, order and comparison are all there is."""
    tasks = [found.group(1) for text, _ in sources.banking if (found := re.match(r"how (?:do|can) i ((?:\w+ ){1,4}\w+)$", text))]  # fmt: skip
    return [_short(tasks, chance) for _ in range(count)]


_COMPLEMENTS: Final = tuple(word for pair in lexicon.COMPLEMENTS for word in pair)
_MOODS: Final = (
    "smart", "intelligent", "clever", "happy", "glad", "sad", "unhappy", "scared", "afraid", "brave", "angry", "tired", "strange",
    "weird", "quiet", "silent", "sick", "ill", "funny", "beautiful", "pretty", "polite", "honest", "rich", "wealthy", "famous", "active",
    "passive", "patient", "important", "simple", "easy", "difficult", "hard", "fast", "quick", *_COMPLEMENTS,
)  # fmt: skip


def _short(tasks: list[str], chance: random.Random) -> str:
    base, past, last = chance.choice(lexicon.VERBS)
    people = chance.sample((*lexicon.FIRST_NAMES, *lexicon.LAST_NAMES), 2)
    things = (
        "the house",
        "the car",
        "the letter",
        "the king",
        "the company",
        "the team",
        "a bear",
        "the river",
        "the village",
        "the doctor",
    )
    sides = [*people, chance.choice(things)]
    chance.shuffle(sides)
    one, other = sides[:2]
    more = chance.choice(
        ["older", "younger", "taller", "faster", "richer", "larger", "stronger", "heavier"]
    )
    first, second = chance.sample(tasks, 2)
    mood = chance.choice(_MOODS)
    like = chance.choice(
        ("the people", "children", "my neighbors", people[0], "this town", "our team", "the answer")
    )
    return chance.choice(
        (
            f"did {one} {base} {other}", f"did {one} {base} {other}", f"was {one} {last} by {other}", f"who {past} {one}",
            f"why did {one} {base} {other}", f"{one} {past} {other}", f"is {one} {more} than {other}", f"are {one} and {other} {more} than us",
            f"do i need to {first} before i {second}", f"should i {first} after i {second}", f"can i {first} and {second}",
            f"can i {first} or {second}", f"how do i {first} without {second}", f"does {one} work for {other}",
            f"is {one} the {chance.choice(('father', 'boss', 'sister', 'teacher', 'friend'))} of {other}",
            f"when did {one} and {other} meet", f"what did {one} say to {other}", f"where does {people[0]} live now",
            f"if {people[0]} and {people[1]} meet, will he {base} her", f"which of {one} and {other} is {more}",
            f"when {people[0]} and {people[1]} talk, does she {base} him", f"would he {base} her if {people[0]} and {people[1]} were here",
            f"if {people[0]} and {people[1]} were neighbors, should he trust her", f"why did she {base} him after that",
            f"why is {like} so {mood}", f"how do i get {mood}", f"is being {mood} a good thing", f"what makes {like} {mood}",
            f"how can {like} learn to be {mood}", f"is it {chance.choice(_COMPLEMENTS)} to {first}",
            f"what is it like to be {chance.choice(_COMPLEMENTS)}", f"who likes {one} and {other}", f"is {people[0]} here or {other}",
            f"was it {one} or {other}", f"are {people[0]} and {other} {mood}",
        )
    )  # fmt: skip


def neighbours(
    texts: list[tuple[str, frozenset[str]]],
    vectors: Matrix,
    kind: str,
    *,
    least: float,
    most_same: float,
) -> list[Pair]:
    """Return near pairs of different questions.

    Args:
        texts: each with what answers it; two are the same if they share an answer.
        vectors: their vectors, of length 1.
        kind: what to call the pairs.
        least: cosine from which two are near.
        most_same: cosine from which two that share an answer count as one question.
    """
    pairs: list[Pair] = []
    for start in range(0, len(texts), 512):
        cosines = vectors[start : start + 512] @ vectors.T
        for row, line in enumerate(cosines):
            index = start + row
            for other in np.argsort(-line)[1:7]:
                if other <= index or line[other] < least or texts[index][0] == texts[other][0]:
                    continue
                shared = bool(texts[index][1] & texts[other][1])
                if shared and line[other] < most_same:
                    continue
                pairs.append(Pair(texts[index][0], texts[other][0], shared, kind))
    return pairs
