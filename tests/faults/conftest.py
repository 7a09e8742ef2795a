"""A mesh in this process, whose parts may be ended."""

from tests.support.fixtures import (  # noqa: F401 - pytest finds them here
    mesh,
    model_mesh,
    provider,
    spans,
    traffic,
)
