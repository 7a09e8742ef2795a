from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.errors import InvalidFieldError, TraceNotFoundError
from libs.values.traces import TENANT_ATTRIBUTE, Span, TraceOrder
from services.traces.store import SpanStore

NOW_S = 1_800_000_000.0
TRACE = "ab" * 16


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SpanStore]:
    opened = SpanStore.open(tmp_path)
    yield opened
    opened.close()


def span(
    number: int,
    *,
    parent: int = 0,
    trace_id: str = TRACE,
    tenant: str = "",
    start_ns: int = 0,
    duration_ns: int = 1000,
    name: str = "work",
) -> Span:
    return Span(
        trace_id=trace_id,
        span_id=f"{number:016x}",
        parent_span_id=f"{parent:016x}" if parent else "",
        name=name,
        service="test",
        start_ns=start_ns or number,
        duration_ns=duration_ns,
        attributes={TENANT_ATTRIBUTE: tenant} if tenant else {},
    )


def roots(
    store: SpanStore,
    tenants: frozenset[str] | None = None,
    order: TraceOrder = TraceOrder.NEWEST,
    name: str = "",
    settled_s: float = 0.0,
) -> list[str]:
    found = store.roots(tenants, order=order, limit=10, name=name, settled_s=settled_s)
    return [each.span_id.lstrip("0") for each in found]


def test_spans_come_back_whole_and_by_start(store: SpanStore) -> None:
    late, early = span(2, parent=1, start_ns=20), span(1, start_ns=10, tenant="acme")
    store.add([late, early], NOW_S)
    assert store.spans(TRACE, None) == [early, late]


def test_a_span_sent_twice_is_stored_once(store: SpanStore) -> None:
    store.add([span(1)], NOW_S)
    store.add([span(1), span(2, parent=1)], NOW_S)
    assert store.span_count == len(store.spans(TRACE, None)) == 2


def test_the_first_digits_of_an_id_name_a_trace_if_no_other_starts_so(store: SpanStore) -> None:
    store.add([span(1, trace_id="abcd1" + "0" * 27), span(1, trace_id="abcd2" + "0" * 27)], NOW_S)
    assert store.spans("abcd2", None)[0].trace_id.startswith("abcd2")
    with pytest.raises(InvalidFieldError, match="one trace alone"):
        store.spans("abcd", None)
    with pytest.raises(TraceNotFoundError):
        store.spans("abce", None)


def test_a_prefix_is_not_ambiguous_because_of_what_the_asker_may_not_see(store: SpanStore) -> None:
    mine = span(1, trace_id="abcd1" + "0" * 27, tenant="acme")
    store.add([mine, span(1, trace_id="abcd2" + "0" * 27, tenant="rival")], NOW_S)
    assert store.spans("abcd", frozenset({"acme"})) == [mine]


def test_tenants_do_not_share_traces(store: SpanStore) -> None:
    store.add([span(1), span(2, parent=1, tenant="acme")], NOW_S)
    assert roots(store, frozenset({"acme"})) == ["1"]
    assert roots(store, frozenset({"rival"})) == []
    with pytest.raises(TraceNotFoundError):
        store.spans(TRACE, frozenset({"rival"}))


def test_tenants_that_meet_in_one_trace_see_their_own_spans_alone(store: SpanStore) -> None:
    theirs = [span(1, tenant="acme"), span(2, parent=1)]
    own = [span(3, parent=1, tenant="rival"), span(4, parent=3)]
    store.add([*theirs, *own], NOW_S)
    assert store.spans(TRACE, frozenset({"rival"})) == own
    assert store.spans(TRACE, frozenset({"acme"})) == theirs
    assert roots(store, frozenset({"rival"})) == []


def test_a_trace_of_no_tenant_is_seen_only_by_those_who_may_see_all(store: SpanStore) -> None:
    store.add([span(1)], NOW_S)
    assert roots(store, frozenset({"acme"})) == []
    assert roots(store, None) == ["1"]


def test_the_root_is_the_span_without_a_parent_whenever_it_arrives(store: SpanStore) -> None:
    store.add([span(2, parent=1, start_ns=5)], NOW_S)
    assert roots(store) == []
    store.add([span(1, start_ns=6)], NOW_S)
    store.add([span(3, parent=1, start_ns=1)], NOW_S)
    assert roots(store) == ["1"]


def test_the_earliest_span_stands_for_a_root_that_was_made_elsewhere(store: SpanStore) -> None:
    store.add([span(2, parent=9, start_ns=20)], NOW_S)
    store.add([span(3, parent=2, start_ns=30), span(1, parent=9, start_ns=10)], NOW_S + 1)
    assert roots(store, settled_s=NOW_S + 0.5) == []
    assert roots(store, settled_s=NOW_S + 1) == ["1"]


def test_roots_are_listed_in_the_order_that_was_asked_for(store: SpanStore) -> None:
    slow = span(1, trace_id="aa" * 16, start_ns=10, duration_ns=900, name="slow")
    quick = span(2, trace_id="bb" * 16, start_ns=20, duration_ns=100, name="quick")
    store.add([slow, quick], NOW_S)
    assert roots(store, order=TraceOrder.NEWEST) == ["2", "1"]
    assert roots(store, order=TraceOrder.SLOWEST) == ["1", "2"]
    assert roots(store, name="slow") == ["1"]


def test_old_traces_go_whole(store: SpanStore) -> None:
    store.add([span(1), span(2, parent=1)], NOW_S - 100)
    store.add([span(1, trace_id="cd" * 16, tenant="acme")], NOW_S)
    assert store.sweep(NOW_S - 50, max_spans=100) == 2
    assert roots(store) == ["1"]
    assert store.span_count == 1


def test_a_trace_that_still_grows_is_not_old(store: SpanStore) -> None:
    store.add([span(1)], NOW_S - 100)
    store.add([span(2, parent=1)], NOW_S)
    assert store.sweep(NOW_S - 50, max_spans=100) == 0


def test_beyond_the_limit_the_oldest_traces_go(store: SpanStore) -> None:
    for age_s in range(100):
        trace_id = f"{age_s:032x}"
        store.add([span(n, trace_id=trace_id, parent=n - 1) for n in (1, 2)], NOW_S - age_s)
    store.sweep(0, max_spans=100)
    assert 50 <= store.span_count <= 100
    assert store.spans(f"{0:032x}", None)
    with pytest.raises(TraceNotFoundError):
        store.spans(f"{99:032x}", None)


def test_a_store_that_was_never_closed_opens_with_all_that_was_added(tmp_path: Path) -> None:
    left_open = SpanStore.open(tmp_path)
    left_open.add([span(1)], NOW_S)
    again = SpanStore.open(tmp_path)
    assert again.span_count == 1
    assert again.spans(TRACE, None) == [span(1)]
    again.close()
    left_open.close()
