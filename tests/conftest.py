"""Fixtures that every kind of test may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from grpc import aio
from hypothesis import settings

from tests.support.valkey import Valkey

# Held until the end: the last of gRPC's objects to go joins a thread, wherever it goes, and
# in an event loop that blocks.
aio.init_grpc_aio()

# The same examples each time, and no limit on a busy machine's patience with one of them.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[BlockBuster]:
    """A blocking call inside the event loop fails the test that makes it."""
    with blockbuster_ctx() as guard:
        yield guard


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    valkey = Valkey(tmp_path_factory.mktemp("valkey"))
    valkey.start()
    yield valkey
    valkey.kill()


@pytest.fixture
def redis_url(shared_valkey: Valkey) -> str:
    """A Redis that is empty when the test begins; not to be harmed."""
    shared_valkey.flush()
    return shared_valkey.url


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Redis of the test's own, to be killed or frozen."""
    server = Valkey(tmp_path)
    server.start()
    yield server
    server.thaw()
    server.kill()


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """The folder of the built encoder."""
    path = Path(os.environ.get("HASTEN_MODEL_DIR", ".hasten/model"))
    if not (path / "manifest.json").exists():
        pytest.fail("the encoder is not built: run `make model`")
    return path


@pytest.fixture(scope="session")
def eval_data() -> Path:
    """The folder of evaluation data."""
    named = os.environ.get("HASTEN_EVAL_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("HASTEN_EVAL_DATA names no folder")
    return Path(named)
