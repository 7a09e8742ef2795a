"""Where the start of a prompt is marked for the provider's cache, and how that cache is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

TTLS_S = {"5m": 300.0, "1h": 3600.0}


@dataclass(frozen=True, slots=True)
class Marks:
    """Where the start of a prompt that is cached may end.

    Attributes:
        ttl: how long it is kept: `5m` or `1h`.
        system: after the system text.
        sources: after the passages or documents.
        history: after the conversation so far.
    """

    ttl: str = "5m"
    system: bool = True
    sources: bool = True
    history: bool = False

    @classmethod
    def none(cls) -> Self:
        """Return no marks at all."""
        return cls(system=False, sources=False)

    @property
    def any(self) -> bool:
        """True if there are some."""
        return self.system or self.sources or self.history

    def at(self, *, place: bool) -> dict[str, Any]:
        """Return what a block holds at its end, if the place is marked."""
        if not place:
            return {}
        # Five minutes are the default; left unsaid, other servers of this API take it too.
        longer = {} if self.ttl == "5m" else {"ttl": self.ttl}
        return {"cache_control": {"type": "ephemeral", **longer}}


@dataclass(frozen=True, slots=True)
class PrefixSettings:
    """How one model's prompt cache is used.

    Attributes:
        enabled: False marks nothing.
        ttl: how long a start is kept after it was last read: `5m` or `1h`.
        minimum_tokens: the shortest start that the model caches; the provider's usage
            corrects it.
        gate_limit_s: longest wait for another request that has the same start cached.
        diagnoses: True asks the provider why nothing was read.
        dollars_per_million: price of input tokens; 0 leaves costs uncounted.
        read_share: price of what is read from the cache, as a share of that.
        is_automatic: True if the provider caches without being asked, and does not say what
            it has written.
    """

    enabled: bool = True
    ttl: str = "5m"
    minimum_tokens: int = 1024
    gate_limit_s: float = 1.0
    diagnoses: bool = False
    dollars_per_million: float = 0.0
    read_share: float = 0.1
    is_automatic: bool = False
