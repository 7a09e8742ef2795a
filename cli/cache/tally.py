"""What came of a replay: hits by layer, what they saved, and which of them were wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from libs.values import CacheLayer

_PER_TOKENS = 1e6


@dataclass(frozen=True, slots=True)
class Prices:
    """What a model costs, in dollars a million tokens."""

    input_usd: float
    output_usd: float

    def usd(self, input_tokens: float, output_tokens: float) -> float:
        """Return what so many tokens cost."""
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / _PER_TOKENS


@dataclass(frozen=True, slots=True)
class Made:
    """An answer that was made, and what that took.

    Attributes:
        group: of its question; None if it has none.
        seconds: until it was whole.
        input_tokens: that a model read; None if none was asked, or it did not say.
        output_tokens: that it wrote.
    """

    group: str | None
    seconds: float
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class WrongHit:
    """A hit on an answer that was made for a question of another group.

    Attributes:
        line: of the file, from 1.
        similarity: of the two questions, a cosine in [-1, 1].
        answered: the question that the answer was made for.
    """

    line: int
    question: str
    layer: str
    similarity: float
    answered: str = ""

    @classmethod
    def of(cls, line: int, question: str, layer: CacheLayer, similarity: float | None) -> WrongHit:
        """Return what is wrong if the groups differ."""
        return cls(line, question, layer.name.lower(), round(similarity or 0.0, 4))


@dataclass(slots=True)
class Tally:
    """Counts questions as they are answered.

    Attributes:
        hits: by layer.
        made: answers that were made, by the name they are stored under.
        missed: why lookups by meaning missed, as far as it is known.
        unstored: why answers that were made are not stored, as far as it is known.
        judged: hits by layer whose question and answer both have a group.
        wrong: those of them whose groups differ.
        refused: questions that nothing was found for, by reason.
        failed: questions that were not answered, by reason.
        shared_count: questions that shared the answer of one in flight.
        hit_s: what the hits took, in seconds, together.
    """

    hits: Counter[str] = field(default_factory=Counter)
    made: dict[str, Made] = field(default_factory=dict)
    missed: Counter[str] = field(default_factory=Counter)
    unstored: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    wrong: list[WrongHit] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    shared_count: int = 0
    hit_s: float = 0.0
    _served: Counter[str] = field(default_factory=Counter)
    _questions: dict[str, str] = field(default_factory=dict)

    def hit(self, entry_id: str, group: str | None, seen: WrongHit, seconds: float) -> None:
        """Count a hit, and look whether it is wrong, if that can be known."""
        self.hits[seen.layer] += 1
        self.hit_s += seconds
        self._served[entry_id] += 1
        made = self.made.get(entry_id)
        if group is None or made is None or made.group is None:
            return
        self.judged[seen.layer] += 1
        if made.group != group:
            self.wrong.append(replace(seen, answered=self._questions[entry_id]))

    def miss(self, name: str, made: Made, question: str, reason: str = "") -> None:
        """Count an answer that had to be made."""
        self.made[name] = made
        self._questions[name] = question
        if reason:
            self.missed[reason] += 1

    @property
    def hit_count(self) -> int:
        """Questions that a stored answer served."""
        return self.hits.total()

    @property
    def answered_count(self) -> int:
        """Questions that were answered, from the cache or not."""
        return self.hit_count + self.shared_count + len(self.made)

    @property
    def question_count(self) -> int:
        """All questions."""
        return self.answered_count + self.refused.total() + self.failed.total()

    @property
    def hit_rate(self) -> float:
        """Share of the answered questions that a stored answer served."""
        return share(self.hit_count, self.answered_count)

    @property
    def calls_saved(self) -> float:
        """Share of the answered questions that no answer had to be made for."""
        return share(self.answered_count - len(self.made), self.answered_count)

    @property
    def wrong_by_layer(self) -> Counter[str]:
        """Wrong hits by layer."""
        return Counter(each.layer for each in self.wrong)

    @property
    def wrong_rate(self) -> float:
        """Share of the judged hits that are wrong."""
        return share(len(self.wrong), self.judged.total())

    @property
    def knows_tokens(self) -> bool:
        """True if it is known how many tokens answers took."""
        return any(each.input_tokens is not None for each in self.made.values())

    @property
    def knows_times(self) -> bool:
        """True if it is known what making an answer took."""
        return bool(self.made)

    def saved_s(self) -> float:
        """Return the seconds that hits saved: what their answers took, less what they took."""
        return self._over_hits(lambda made: made.seconds) - self.hit_s

    def saved_tokens(self) -> tuple[float, float]:
        """Return the tokens that hits saved, read and written."""
        read = self._over_hits(lambda made: made.input_tokens or 0)
        return read, self._over_hits(lambda made: made.output_tokens or 0)

    def members(self, prices: Prices) -> dict[str, Any]:
        """Return it as one JSON object; rates are of the answered questions."""
        answered = self.answered_count
        wrong = self.wrong_by_layer
        found = {
            "questions": self.question_count,
            "answered": answered,
            "hit_rate": self.hit_rate,
            "layers": {
                layer: {
                    "hits": count,
                    "rate": share(count, answered),
                    "judged": self.judged[layer],
                    "wrong": wrong[layer],
                }
                for layer, count in self.hits.items()
            },
            "shared_in_flight": self.shared_count,
            "made": len(self.made),
            "calls_saved": self.calls_saved,
            "missed": dict(self.missed.most_common()),
            "not_stored": dict(self.unstored),
            "refused": dict(self.refused),
            "failed": dict(self.failed),
            "judged_hits": self.judged.total(),
            "wrong_hits": len(self.wrong),
            "wrong_hit_rate": self.wrong_rate,
        }
        if self.knows_times:
            found["saved_s"] = self.saved_s()
        if self.knows_tokens:
            read, written = self.saved_tokens()
            found["saved_input_tokens"], found["saved_output_tokens"] = read, written
            found["saved_usd"] = prices.usd(read, written)
        return found

    def _over_hits(self, cost: Callable[[Made], float]) -> float:
        """Return a cost over all hits; an answer from before costs what others did."""
        if not self.made:
            return 0.0
        mean = sum(map(cost, self.made.values())) / len(self.made)
        return sum(
            count * (cost(self.made[name]) if name in self.made else mean)
            for name, count in self._served.items()
        )


def share(part: int, whole: int) -> float:
    """Return a share in [0, 1]; 0 of nothing."""
    return part / whole if whole else 0.0
