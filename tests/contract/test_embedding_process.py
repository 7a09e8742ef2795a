from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from hasten.embedding.v1 import embedding_service_pb2 as pb
from hasten.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from services.embedding.servicer import EmbeddingServicer
from tests.support.embedding_process import Running, running, start


@pytest.fixture(params=["fp32", "int8"])
def service(request: pytest.FixtureRequest, model_dir: Path) -> Iterator[Running]:
    with running(model_dir, EMBEDDING_PRECISION=request.param) as service:
        yield service


def test_the_process_serves_says_so_and_ends_when_told(service: Running) -> None:
    with grpc.insecure_channel(service.address) as channel:
        asked = health_pb2.HealthCheckRequest(service=EmbeddingServicer.NAME)
        health = HealthStub(channel).Check(asked)
        found = EmbeddingServiceStub(channel).EmbedTexts(pb.EmbedTextsRequest(texts=["Hello?"]))
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert (found.dimensions, len(found.vectors)) == (384, 384 * 4)
    assert service.stop() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("EMBEDDING_MODEL_DIR", "/nowhere"), ("EMBEDDING_PRECISION", "fp8")],
)
def test_a_setting_that_does_not_fit_ends_the_process_and_is_named(name: str, value: str) -> None:
    with start({name: value}) as process:
        _, log = process.communicate(timeout=30)
    assert process.returncode != 0
    assert name in log
    assert value in log


@pytest.mark.prove
def test_the_process_is_ready_within_two_seconds(model_dir: Path) -> None:
    with running(model_dir) as service:
        assert service.ready_s < 2
