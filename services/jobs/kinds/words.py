"""What texts have in common by their words, and which of their sentences say most: no model.

Sentences are weighed as vectors of their words, rare ones counting more, against the sum of all:
the centroid, as in MEAD (Radev et al., "Centroid-based summarization of multiple documents",
IP&M 40(6), 2004); the next one is taken for what it adds to those taken (Carbonell & Goldstein,
"The use of MMR", SIGIR 1998).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

Vector = Mapping[str, float]

_WORD = re.compile(r"[^\W_]+")
# Scripts that put no blanks between words: pairs of characters stand for words.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)
# Inflections of a word mostly share a beginning of this length.
_STEM_CHARS = 7
_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n\s*\n|\n(?=\s*(?:[-*+#>|]|\d+[.)]))")  # noqa: RUF001
_MARKS = re.compile(r"^\s*(?:[-*+>]\s+|\d+[.)]\s+)+")
_FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_LEAST_CHARS, _MOST_CHARS = 15, 600
_MOST_SENTENCES = 4_000
# How much what was said counts against saying it again.
_REPETITION = 0.6
# The first sentences of a text tend to say what it is about.
_LEAD = 0.5


def words_of(text: str) -> list[str]:
    """Return the words of a text, cut to stems; pairs of characters where none are set apart."""
    found: list[str] = []
    for word in _WORD.findall(text.casefold()):
        rest = 0
        for run in _UNSPACED.finditer(word):
            found += _plain(word[rest : run.start()])
            characters = run.group()
            found += [characters[at : at + 2] for at in range(max(1, len(characters) - 1))]
            rest = run.end()
        found += _plain(word[rest:])
    return found


def _plain(word: str) -> list[str]:
    return [word[:_STEM_CHARS]] if word else []


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, without headings, code and what is too short to say much."""
    found = []
    for piece in _END.split(_FENCE.sub("\n\n", text)):
        if piece.lstrip().startswith(("#", "|")):
            continue
        sentence = " ".join(_MARKS.sub("", piece).split())
        if _width(sentence) >= _LEAST_CHARS and len(sentence) <= _MOST_CHARS:
            found.append(sentence)
    return found


def _width(text: str) -> int:
    """Return a length in which a character of an unspaced script counts for two."""
    return len(text) + sum(len(run) for run in _UNSPACED.findall(text))


def vectors(texts: Sequence[Sequence[str]]) -> list[Vector]:
    """Return the texts' words as vectors of length 1, words that few texts have counting more."""
    having = Counter(word for words in texts for word in set(words))
    made: list[Vector] = []
    for words in texts:
        counts = Counter(words)
        weights = {
            word: (1 + math.log(count)) * math.log(1 + len(texts) / having[word])
            for word, count in counts.items()
        }
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        made.append({word: weight / length for word, weight in weights.items()})
    return made


def cosine(one: Vector, other: Vector) -> float:
    """Return how alike two vectors of length 1 are, in [0, 1]."""
    if len(one) > len(other):
        one, other = other, one
    return sum(weight * other.get(word, 0.0) for word, weight in one.items())


def central(text: str, count: int) -> list[str]:
    """Return the sentences of a text that say most of it, in its order; all if there are few."""
    found = list(dict.fromkeys(sentences(text)))[:_MOST_SENTENCES]
    weighed = vectors([words_of(each) for each in found])
    middle = _centroid(weighed)
    scores = [
        cosine(each, middle) * (1 + _LEAD / (1 + place)) for place, each in enumerate(weighed)
    ]
    likeness = [0.0] * len(found)
    chosen: list[int] = []
    while len(chosen) < min(count, len(found)):
        left = (place for place in range(len(found)) if place not in chosen)
        best = max(left, key=lambda place: scores[place] - _REPETITION * likeness[place])
        chosen.append(best)
        for place, each in enumerate(weighed):
            likeness[place] = max(likeness[place], cosine(each, weighed[best]))
    return [found[place] for place in sorted(chosen)]


def _centroid(weighed: Sequence[Vector]) -> Vector:
    total: Counter[str] = Counter()
    for each in weighed:
        for word, weight in each.items():
            total[word] += weight  # type: ignore[assignment]
    length = math.sqrt(sum(weight * weight for weight in total.values())) or 1.0
    return {word: weight / length for word, weight in total.items()}


def ranked(question: str, texts: Sequence[str]) -> list[int]:
    """Return the places of the texts that share words with a question, likest first."""
    asked, *weighed = vectors([words_of(question), *map(words_of, texts)])
    scores = [cosine(asked, each) for each in weighed]
    return sorted((at for at, score in enumerate(scores) if score), key=lambda at: -scores[at])
