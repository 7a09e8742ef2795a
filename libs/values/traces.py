"""Values of `hasten.traces.v1`; each means what the proto's comment says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

TENANT_ATTRIBUTE = "hasten.tenant.id"
ACCOUNT_ATTRIBUTE = "hasten.account"
ALL_TENANTS = "*"


class TraceOrder(IntEnum):
    """An order of traces."""

    UNSPECIFIED = 0
    NEWEST = 1
    SLOWEST = 2


@dataclass(frozen=True, slots=True)
class Span:
    """One span; ids are hex digits, times nanoseconds of the Unix epoch.

    Attributes:
        attributes: each value as JSON has it: text, number, truth, list or object.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    service: str
    start_ns: int
    duration_ns: int
    status: str = "UNSET"
    kind: str = "INTERNAL"
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def end_ns(self) -> int:
        """When the span ended."""
        return self.start_ns + self.duration_ns

    @property
    def tenant_id(self) -> str:
        """The tenant that the span itself names; empty if it names none, or all."""
        named = self.attributes.get(TENANT_ATTRIBUTE)
        return named if isinstance(named, str) and named != ALL_TENANTS else ""
