from hypothesis import given, settings
from hypothesis import strategies as st

from libs.values.traces import ALL_TENANTS, TENANT_ATTRIBUTE, Span
from services.traces.visibility import visible


def span(number: int, parent: int, tenant: str) -> Span:
    attributes = {TENANT_ATTRIBUTE: tenant} if tenant else {}
    return Span(
        "ab" * 16, str(number), str(parent), "work", "test", number, 1, attributes=attributes
    )


tenants = st.sampled_from(["", "acme", "rival"])
traces = st.lists(st.tuples(st.integers(0, 9), tenants), max_size=9).map(
    lambda rows: [span(number, parent, tenant) for number, (parent, tenant) in enumerate(rows)]
)


@settings(deadline=None)  # a busy machine proves nothing
@given(trace=traces)
def test_no_tenant_ever_sees_a_span_that_names_another(trace: list[Span]) -> None:
    seen = visible(trace, frozenset({"acme"}))
    assert all(each.tenant_id in ("", "acme") for each in seen)


@settings(deadline=None)  # a busy machine proves nothing
@given(trace=traces)
def test_two_tenants_never_see_the_same_span(trace: list[Span]) -> None:
    mine = visible(trace, frozenset({"acme"}))
    assert not [each for each in visible(trace, frozenset({"rival"})) if each in mine]


@settings(deadline=None)  # a busy machine proves nothing
@given(trace=traces)
def test_every_span_that_names_a_tenant_is_seen_by_it(trace: list[Span]) -> None:
    mine = visible(trace, frozenset({"acme"}))
    assert all(each in mine for each in trace if each.tenant_id == "acme")


@settings(deadline=None)  # a busy machine proves nothing
@given(trace=traces)
def test_who_speaks_for_all_sees_all(trace: list[Span]) -> None:
    assert visible(trace, None) == trace


def test_to_ask_for_all_tenants_is_not_to_be_one() -> None:
    asked = span(1, 0, ALL_TENANTS)
    assert asked.tenant_id == ""
    assert visible([asked], frozenset({"acme"})) == []
