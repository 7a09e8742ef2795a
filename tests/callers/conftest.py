"""A mesh for callers in other processes."""

from tests.support.fixtures import mesh, traffic  # noqa: F401 - pytest finds them here
