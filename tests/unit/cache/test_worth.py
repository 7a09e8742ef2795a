from __future__ import annotations

from services.cache.worth import Worths


def gone(worths: Worths, count: int) -> list[int]:
    """Return what has to go, in order."""
    order = []
    for _ in range(count):
        order.append(worths.least())
        worths.remove(order[-1])
    return order


def test_what_was_cheap_to_make_goes_before_what_was_dear() -> None:
    worths = Worths()
    for number, cost_s in enumerate((3.0, 1.0, 2.0)):
        worths.put(number, cost_s)
    assert gone(worths, 3) == [1, 2, 0]


def test_what_is_used_stays() -> None:
    worths = Worths()
    for number in range(3):
        worths.put(number, 1.0)
    worths.hit(0, 5)
    worths.hit(2, 1)
    assert gone(worths, 3) == [1, 2, 0]


def test_what_was_used_long_ago_goes_at_last() -> None:
    worths = Worths()
    worths.put(0, 1.0)
    worths.hit(0, 9)
    went = []
    for number in range(1, 30):
        worths.put(number, 1.0)
        worths.put(100 + number, 1.0)
        went += gone(worths, 2)
    # Each newcomer is worth more than those that had to go before it.
    assert 9 < went.index(0) < 30


def test_hits_leave_no_trail() -> None:
    worths = Worths()
    for number in range(10):
        worths.put(number, 1.0)
    for _ in range(10_000):
        worths.hit(3, 1)
    assert len(worths._heap) <= 30  # noqa: SLF001 - memory is what is in question
