"""The kinds of work that share one thread, and the calls that ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from libs.budget import Budget
from services.embedding.engine import Pair

# Weight of the newest run in what is known of a pace.
_NEWEST = 0.2
# What was learned is forgotten after this long without a run. Were it not, a pace that was
# wrong for once could keep every call out, and no run would ever put it right.
_REMEMBERED_S = 1.0
# In English a token has about four characters; counting bytes instead makes the guess
# hold for other scripts too. Only the length of a run hangs on it.
_BYTES_PER_TOKEN = 4

Item = TypeVar("Item", str, Pair)
Found = TypeVar("Found")


class Rank(IntEnum):
    """Whose call goes before whose."""

    # A question's vector: nothing can be found by meaning without it.
    TEXTS = 0
    # A verdict on what was found: an answer can do without.
    PAIRS = 1
    BULK = 2


class Work(Generic[Item, Found]):
    """One kind of work: who does it, how long it is, and how fast it went."""

    def __init__(
        self, run: Callable[[Sequence[Item]], Sequence[Found]], *, max_tokens: int, marks: int
    ) -> None:
        """Describe work that has not been done yet.

        Args:
            run: does it for some items; blocks.
            max_tokens: tokens that are read of an item.
            marks: tokens around and between an item's texts.
        """
        self.run: Callable[[Sequence[Item]], Sequence[Found]] = run
        self._max_tokens = max_tokens
        self._marks = marks
        self._s_per_token = 0.0
        self._learned_s = 0.0

    def tokens(self, item: Item) -> int:
        """Return about how many tokens are read of an item."""
        texts = [item] if isinstance(item, str) else item
        size_bytes = sum(len(text.encode()) for text in texts)
        return min(self._max_tokens, size_bytes // _BYTES_PER_TOKEN + self._marks)

    def s_per_token(self, now_s: float) -> float:
        """Return the seconds that a token lately took; 0 if that is not known."""
        return self._s_per_token if now_s - self._learned_s <= _REMEMBERED_S else 0.0

    def learn(self, items: Sequence[Item], started_s: float, ended_s: float) -> None:
        """Take in how long a run took."""
        newest = (ended_s - started_s) / sum(map(self.tokens, items))
        known = self.s_per_token(started_s) or newest
        self._s_per_token = known + _NEWEST * (newest - known)
        self._learned_s = ended_s


@dataclass(slots=True, eq=False)
class Call(Generic[Item, Found]):
    """One caller's items and what is known of them.

    Attributes:
        work: what is to be done with them.
        items: texts or pairs, in order; repeats allowed.
        rank: who goes before it.
        budget: its time; None if it set no deadline.
        arrived_s: when it arrived, in seconds of the batcher's clock.
        found: what has been found, by item.
        missing: the items of which nothing is, in order.
        working_s: seconds in which its items were being worked on.
        batch_size: most calls that shared one of its runs.
        done: set to None when nothing is missing, or to what went wrong.
    """

    work: Work[Item, Found]
    items: Sequence[Item]
    rank: Rank
    budget: Budget | None
    arrived_s: float
    found: dict[Item, Found] = field(default_factory=dict)
    missing: dict[Item, None] = field(init=False)
    working_s: float = 0.0
    batch_size: int = 0
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def __post_init__(self) -> None:
        self.missing = dict.fromkeys(self.items)

    @property
    def end_s(self) -> float:
        """When its time ends; never, if it set no deadline."""
        return float("inf") if self.budget is None else self.budget.end_by_s

    def take(self, found: dict[Item, Found]) -> bool:
        """Take what is missing out of `found`; return whether anything was."""
        taken = self.missing.keys() & found.keys()
        for item in taken:
            self.found[item] = found[item]
            del self.missing[item]
        return bool(taken)

    def fail(self, error: Exception) -> None:
        """End the call with `error`, unless it has ended."""
        if not self.done.done():
            self.done.set_exception(error)
