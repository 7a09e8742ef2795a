"""Three times as many calls as a server can do, under a clock of the test's own."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from libs.errors import OverloadedError
from libs.resilience import Admission, Limiter, Ticket, open_admission

METHOD = "hasten.test.v1.TestService/DoIt"
WORKERS, WORK_S = 4, 0.020
CAPACITY = WORKERS / WORK_S


@dataclass
class Server:
    """Workers behind a queue; a caller leaves when its time is over."""

    patience_s: float
    admission: Admission | None = None
    now_s: float = 0.0
    answered_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    refused_count: int = 0

    def run(self, arrivals: Iterator[float], until_s: float) -> None:
        admission = self.admission
        assert admission is not None
        gate = admission.gate(METHOD)
        queue: deque[tuple[float, Ticket]] = deque()
        ends: list[tuple[float, int, float, Ticket, bool]] = []
        number, busy, arrives_s = itertools.count(), 0, next(arrivals)
        while self.now_s < until_s:
            if ends and ends[0][0] <= arrives_s:
                self.now_s, _, came_s, ticket, in_time = heapq.heappop(ends)
                busy -= 1
                if in_time:
                    ticket.answered()
                    self.answered_s.append(self.now_s)
                else:
                    self.late_s.append(self.now_s)
                ticket.leave(cut=not in_time)
            else:
                self.now_s, arrives_s = arrives_s, next(arrivals)
                try:
                    ticket = gate.admit(None, queue_s=0.0, remaining_s=self.patience_s)
                    queue.append((self.now_s, ticket))
                except OverloadedError:
                    self.refused_count += 1
            while queue and queue[0][0] + self.patience_s <= self.now_s:
                queue.popleft()[1].leave(cut=True)
                self.late_s.append(self.now_s)
            while queue and busy < WORKERS:
                came_s, ticket = queue.popleft()
                done_s, left_s = self.now_s + WORK_S, came_s + self.patience_s
                busy += 1
                end = min(done_s, left_s)
                heapq.heappush(ends, (end, next(number), came_s, ticket, done_s <= left_s))

    def goodput(self, after_s: float, until_s: float) -> float:
        """Answers in time, as a share of what the workers can do."""
        count = sum(after_s <= each < until_s for each in self.answered_s)
        return count / (until_s - after_s) / CAPACITY


def arriving(load: float, seed: int) -> Iterator[float]:
    """Points in time of a Poisson process: a quiet second first, then `load` x capacity."""
    chance, now_s = random.Random(seed), 0.0  # noqa: S311 - no secret
    while True:
        now_s += chance.expovariate(CAPACITY * (0.3 if now_s < 1 else load))
        yield now_s


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("patience_s", [0.1, 0.2, 2.0])
def test_overload_leaves_nine_tenths_of_what_the_server_can_do(
    seed: int, patience_s: float
) -> None:
    server = Server(patience_s)
    server.admission = Admission(Limiter(256), clock=lambda: server.now_s)
    server.run(arriving(3.0, seed), 61.0)
    assert server.goodput(5, 61) >= 0.9
    # Who was let in was answered: the limit does not creep up to the callers' patience.
    assert sum(each > 5 for each in server.late_s) < 0.05 * 56 * CAPACITY
    assert server.refused_count > 0


@pytest.mark.parametrize("seed", range(2))
def test_without_admission_the_same_load_leaves_hardly_anything(seed: int) -> None:
    server = Server(0.2, open_admission(10**9))
    server.run(arriving(3.0, seed), 21.0)
    assert server.refused_count == 0
    assert server.goodput(3, 21) < 0.5
