"""How long an answer lives: absolute ends, set when it is stored and never moved by its use."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from services.cache.entry import Draft, Entry


@dataclass(frozen=True, slots=True)
class Ends:
    """The points of an answer's life, in seconds of the wall clock.

    Attributes:
        shared_from_s: from when on it may be found by meaning.
        stale_at_s: the soft end: from then on it serves and is to be made anew.
        expires_at_s: the hard end: from then on it does not serve.
    """

    shared_from_s: float
    stale_at_s: float
    expires_at_s: float


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long answers live, in seconds from when they were stored.

    Attributes:
        whole_s: of an answer that is as good as it was to be.
        degraded_s: of one that fell short of that.
        refusal_s: of "there is no answer in the collection"; it is never stale.
        fresh_share: the part of a life after which an answer is stale, in (0, 1].
        jitter: by how much a life is longer or shorter, as a part of it, in [0, 1): what was
            stored together does not end together.
        quarantine_s: how long an answer is found by the same question alone.
    """

    whole_s: float
    degraded_s: float
    refusal_s: float = 30.0
    fresh_share: float = 1.0
    jitter: float = 0.0
    quarantine_s: float = 0.0

    def ends(self, draft: Draft | Entry, now_s: float) -> Ends:
        """Return the ends of an answer that is stored now, or was stored then."""
        life_s = self._life_s(draft) * jittered(draft.entry_id, self.jitter)
        fresh_s = life_s if draft.refusal else life_s * self.fresh_share
        return Ends(now_s + self.quarantine_s, now_s + fresh_s, now_s + life_s)

    def _life_s(self, draft: Draft | Entry) -> float:
        if draft.refusal:
            return self.refusal_s
        return self.degraded_s if draft.degraded else self.whole_s


def jittered(name: str, most: float) -> float:
    """Return a factor in [1 - most, 1 + most), the same one for a name in every process."""
    return 1.0 + most * (2.0 * zlib.crc32(name.encode()) / 2**32 - 1.0)
