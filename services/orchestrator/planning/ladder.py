"""The ladder as data: the steps to a first text, and what doing without one costs.

The same description makes the tables of a deployed mesh and those of the virtual-time
test-bed; only the steps differ.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Step:
    """One step before the text is written.

    Losses are counted in late answers, see `outlook`; None where there is no going on
    without the step.

    Attributes:
        hop: what it calls, as accounts name it.
        skip_loss: of not beginning it.
        cut_loss: of giving it up under way, with what has come by then.
        partial_rung: names the latencies of what has to have come before it can be cut;
            empty if nothing has to.
        needs: a hop without which it is done in its lesser way.
        rung: names its latencies if all is there.
        lesser_rung: names them if `needs` was skipped or cut.
        is_hedged: True if a second call is made when the first is slower than 19 in 20.
    """

    hop: str
    skip_loss: float | None = None
    cut_loss: float | None = None
    partial_rung: str = ""
    needs: str = ""
    rung: str = ""
    lesser_rung: str = ""
    is_hedged: bool = False


@dataclass(frozen=True, slots=True)
class Writer:
    """One way to write the text.

    Attributes:
        rung: names its latencies, to the first text.
        loss: of the text being this one's from the start.
        win_loss: of the text being this one's, although another was begun first.
        call_loss: of calling it in vain.
        is_backup: True if it may be called beside a better one that is slow.
        is_stand_in: True if it comes so soon and so surely that it can wait for the end.
    """

    rung: str
    loss: float = 0.0
    win_loss: float = 0.0
    call_loss: float = 0.0
    is_backup: bool = False
    is_stand_in: bool = False


@dataclass(frozen=True, slots=True)
class Ladder:
    """Everything between a question and its first text.

    Attributes:
        steps: in order.
        text: the hop that writes.
        writers: from the best to the least.
        reserve_s: seconds kept for sending.
        name: tells ladders of equal steps apart whose latencies are expected to differ.
    """

    steps: tuple[Step, ...]
    text: str
    writers: tuple[Writer, ...]
    reserve_s: float = 0.0
    name: str = ""

    def priced(self, price: float) -> Ladder:
        """Return the ladder where a call in vain costs `price` times as much; inf allows none."""
        return self if price == 1.0 else _priced(self, price)


# What a call costs, of its usual price, by how full the purse is at least.
_PRICES = ((0.6, 1.0), (0.4, 1.5), (0.2, 2.5))
_LAST_PRICE = 5.0


def price(available: float, burst: float) -> float:
    """Return the price of a call to the backup, of which the ladder's is 1.

    The emptier the purse, the dearer a call, and the surer a plan that does without. So a
    plan does not promise what an empty purse will refuse it.

    Args:
        available: calls that could be made now.
        burst: calls that may be saved up.
    """
    if available < 1:
        return math.inf
    return next((found for least, found in _PRICES if available >= least * burst), _LAST_PRICE)


@functools.lru_cache(maxsize=256)
def _priced(ladder: Ladder, price: float) -> Ladder:
    return replace(ladder, writers=tuple(_dearer(each, price) for each in ladder.writers))


def _dearer(writer: Writer, price: float) -> Writer:
    if not writer.is_backup:
        return writer
    if price == math.inf:
        return replace(writer, is_backup=False)
    return replace(writer, call_loss=writer.call_loss * price)
