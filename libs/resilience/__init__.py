"""What calls cost, learned from calls that were allowed to end and from those that were not."""

from libs.resilience.allowance import Allowance
from libs.resilience.breaker import Breaker, BreakerLimits
from libs.resilience.distribution import Distribution
from libs.resilience.sketch import DamagedSketchError, Sketch
from libs.resilience.sketches import Loaded, Sketches, replace_file

__all__ = [
    "Allowance",
    "Breaker",
    "BreakerLimits",
    "DamagedSketchError",
    "Distribution",
    "Loaded",
    "Sketch",
    "Sketches",
    "replace_file",
]
