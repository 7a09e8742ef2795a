"""What is worth keeping, of things that do not all fit."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

# A hit leaves an outdated row in the heap; this many for each that counts are put up with.
_OUTDATED_PER_ROW = 2


@dataclass(slots=True)
class _Row:
    cost_s: float
    hits: int
    worth: float


class Worths:
    """Numbered things of one size, by what they are worth.

    GreedyDual-Size-Frequency (Cherkasova, HP Labs report 98-69R1), as the store has it:
    worth is what a thing costs to make times how often it was used, above that of the
    last one that had to go. What is not used so grows old against what comes new.
    """

    def __init__(self) -> None:
        self._clock = 0.0
        self._rows: dict[int, _Row] = {}
        self._heap: list[tuple[float, int]] = []

    def put(self, number: int, cost_s: float) -> None:
        """Take in a new thing."""
        self._rows[number] = _Row(cost_s, 0, 0.0)
        self.hit(number, 0)

    def hit(self, number: int, count: int) -> None:
        """Count uses of a thing that is there."""
        row = self._rows[number]
        row.hits += count
        row.worth = self._clock + (1 + row.hits) * row.cost_s
        heapq.heappush(self._heap, (row.worth, number))
        if len(self._heap) > (1 + _OUTDATED_PER_ROW) * len(self._rows):
            self._heap = [(each.worth, number) for number, each in self._rows.items()]
            heapq.heapify(self._heap)

    def remove(self, number: int) -> None:
        """Forget a thing."""
        self._rows.pop(number, None)

    def least(self) -> int:
        """Return what has to go next; there must be something. It grows the clock."""
        while True:
            worth, number = self._heap[0]
            row = self._rows.get(number)
            if row is not None and row.worth == worth:
                self._clock = worth
                return number
            heapq.heappop(self._heap)
