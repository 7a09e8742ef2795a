"""A mesh in this process for the tests here, in parts that they choose from."""

from tests.support.fixtures import (  # noqa: F401 - pytest finds them here
    mesh,
    model_mesh,
    provider,
    spans,
    traffic,
)
