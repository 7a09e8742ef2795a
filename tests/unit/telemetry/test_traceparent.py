"""A `traceparent` is read as the SDK reads it, in whatever form it comes."""

from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from libs.telemetry.spans import context_of, traceparent

_SDK = TraceContextTextMapPropagator()
_DIGITS = "0123456789abcdef"


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text(_DIGITS, min_size=count, max_size=count) | st.just("0" * count)


WELL_FORMED = st.builds("00-{}-{}-{}".format, digits(32), digits(16), digits(2))
NEARLY = st.builds(
    "{}-{}-{}-{}{}".format,
    st.sampled_from(["00", "01", "cc", "ff", "0", ""]),
    digits(32) | digits(31) | st.just("A" * 32),
    digits(16) | digits(17) | st.just("F" * 16),
    digits(2) | digits(1) | st.just("0G"),
    st.sampled_from(["", "-", "-more", " ", "\n"]),
)


@given(WELL_FORMED | NEARLY | st.text())
@example("00-" + "0" * 32 + "-" + "1" * 16 + "-01")
@example("00-" + "1" * 32 + "-" + "0" * 16 + "-01")
@example("00-" + "1" * 32 + "-" + "2" * 16 + "-01\n")
def test_every_header_means_what_it_means_to_the_sdk(header: str) -> None:
    ours = get_current_span(context_of(header)).get_span_context()
    theirs = get_current_span(_SDK.extract({"traceparent": header}, Context())).get_span_context()
    assert (ours, ours.is_remote) == (theirs, theirs.is_remote)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255).map(TraceFlags))
def test_what_is_written_is_read_back(trace_id: int, span_id: int, flags: TraceFlags) -> None:
    sent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
    header = traceparent(NonRecordingSpan(sent))
    assert get_current_span(context_of(header)).get_span_context() == sent
