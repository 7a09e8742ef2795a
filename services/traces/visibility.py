"""Which spans of a trace a tenant may see.

A trace id comes from outside, so two tenants may meet in one trace, by chance or by
intent. Then each sees its own spans alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from libs.values.traces import Span


def visible(spans: Sequence[Span], tenants: frozenset[str] | None) -> list[Span]:
    """Return the spans of one trace that speak of these tenants alone.

    Args:
        spans: the whole trace.
        tenants: whose spans to return; None means all there are.
    """
    named = {span.tenant_id for span in spans} - {""}
    if tenants is None or (named and named <= tenants):
        return list(spans)
    by_id = {span.span_id: span for span in spans}
    return [span for span in spans if _owner(span, by_id) in tenants]


def _owner(span: Span, by_id: Mapping[str, Span]) -> str:
    """Return the tenant of the nearest span upwards that names one; empty if none does."""
    seen: set[str] = set()
    at: Span | None = span
    while at is not None and not at.tenant_id and at.span_id not in seen:
        seen.add(at.span_id)
        at = by_id.get(at.parent_span_id)
    return "" if at is None else at.tenant_id
