"""What keeps promises when hops are slow, dead, or asked for more than they can do.

Latencies are learned from calls that ended and from those that were cut; extra calls draw
on one allowance; breakers leave the dead alone; servers let in what they can finish. Pure
controllers: no gRPC, no tasks; the clock is passed in.

What needs numpy is imported by its module (`distribution`, `sketch`, `sketches`, `grid`): every
server and client passes through here, and most images have no other use for it.
"""

from libs.resilience.admission import Admission, Gate, Ticket, open_admission
from libs.resilience.allowance import Allowance
from libs.resilience.breaker import Breaker, BreakerLimits
from libs.resilience.codel import Codel
from libs.resilience.limiter import Limiter, Pace
from libs.resilience.priority import background, be_background, is_background

__all__ = [
    "Admission",
    "Allowance",
    "Breaker",
    "BreakerLimits",
    "Codel",
    "Gate",
    "Limiter",
    "Pace",
    "Ticket",
    "background",
    "be_background",
    "is_background",
    "open_admission",
]
