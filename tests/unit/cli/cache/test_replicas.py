import pytest

from cli.cache.stats import replicas_of
from libs.errors import UnreachableError


@pytest.mark.parametrize(
    ("target", "replicas"),
    [
        ("127.0.0.1:5", ["127.0.0.1:5"]),
        ("ipv4:127.0.0.1:5,127.0.0.1:6", ["127.0.0.1:5", "127.0.0.1:6"]),
        ("ipv6:[::1]:5", ["[::1]:5"]),
        ("unix:/tmp/cache", ["unix:/tmp/cache"]),
        ("dns:///127.0.0.1:5", ["127.0.0.1:5"]),
        ("dns:127.0.0.1:5", ["127.0.0.1:5"]),
        ("dns:///[::1]:5", ["[::1]:5"]),
    ],
)
def test_every_replica_that_a_target_names_is_asked(target: str, replicas: list[str]) -> None:
    assert replicas_of(target) == replicas


def test_a_name_that_does_not_resolve_is_said() -> None:
    with pytest.raises(UnreachableError, match="does not resolve"):
        replicas_of("dns:///no such host:5")
