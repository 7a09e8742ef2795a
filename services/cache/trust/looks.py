"""A look: what somebody found who judged one semantic hit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """Who judged."""

    JUDGE = "judge"
    REPORT = "report"
    AGREEMENT = "agreement"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Hit:
    """A stored answer that served, or could have served, a question of the same meaning.

    Attributes:
        tenant_id: whose question it was.
        policy: the name of the policy it was answered under.
        allowance: the share of wrong hits that is tolerated there, in (0, 1].
        region: where the question lies in the space of meanings.
        probability: that one answer serves both questions, as it was said then, in [0, 1].
        share: of such hits that are looked at, as it was then, in (0, 1].
        base_share: the share of all hits of this tenant and policy, as it was then.
        served: False if the answer was held back, for the probability was below the target.
    """

    tenant_id: str
    policy: str
    allowance: float
    region: int
    probability: float
    share: float
    base_share: float
    served: bool = True

    @property
    def weight(self) -> float:
        """What a look at it counts among looks at all regions, in (0, 1].

        A region that is looked at harder has more looks than its part of the traffic.
        """
        return min(1.0, self.base_share / self.share)


@dataclass(frozen=True, slots=True)
class Look:
    """A judged hit.

    Attributes:
        hit: what was judged.
        wrong: True if the answer does not serve the question.
        source: who says so.
        at_s: when, in seconds of the wall clock.
    """

    hit: Hit
    wrong: bool
    source: Source
    at_s: float
