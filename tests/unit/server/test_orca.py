import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from libs.server.orca import TRAILER, LoadReport, encode_report

# As in xds/data/orca/v3/orca_load_report.proto, of which no package can be installed here.
_FIELDS = {
    "cpu_utilization": 1,
    "mem_utilization": 2,
    "rps_fractional": 6,
    "eps": 7,
    "application_utilization": 9,
}


def _report_type() -> type:
    file = descriptor_pb2.FileDescriptorProto(name="orca.proto", package="t", syntax="proto3")
    message = file.message_type.add(name="OrcaLoadReport")
    for name, number in _FIELDS.items():
        double = descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE
        message.field.add(name=name, number=number, type=double, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("t.OrcaLoadReport")
    return message_factory.GetMessageClass(found)


OrcaLoadReport = _report_type()
numbers = st.floats(0, 1e9, allow_nan=False).map(abs)  # protobuf writes -0.0, nobody means it


@given(utilization=numbers, rps=numbers, eps=numbers)
def test_a_report_is_what_protobuf_would_write(utilization: float, rps: float, eps: float) -> None:
    message = OrcaLoadReport(application_utilization=utilization, rps_fractional=rps, eps=eps)
    written = encode_report(utilization=utilization, rps=rps, eps=eps)
    assert written == message.SerializeToString()


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_report_tells_rates_and_how_full_the_server_is() -> None:
    clock = Clock()
    report = LoadReport(lambda: 0.25, clock)
    for number in range(1000):
        clock.now_s += 0.01
        report.count("UNAVAILABLE" if number % 10 == 0 else "NOT_FOUND" if number % 2 else "OK")
        ((name, data),) = report.trailers()
    told = OrcaLoadReport.FromString(data)
    assert name == TRAILER
    assert told.application_utilization == pytest.approx(0.25, rel=0.05)
    assert told.rps_fractional == pytest.approx(100, rel=0.05)
    assert told.eps == pytest.approx(10, rel=0.3)


def test_a_report_is_made_anew_twenty_times_a_second_at_most() -> None:
    clock = Clock()
    report = LoadReport(lambda: 0.5, clock)
    first = report.trailers()
    clock.now_s = 0.049
    assert report.trailers() is first
    clock.now_s = 0.051
    assert report.trailers() is not first
